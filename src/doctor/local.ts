import { socketPlace } from "../drivers/libvirt/transport/unix.ts";
import { type Examination, type ExamineOptions, examine } from "./examination.ts";
import type { Finding } from "./finding.ts";

/**
 * Examines the QEMU daemons of this machine: the system's, and, for a user who is not root, the user's own. One of the
 * two is enough: where one is there, it is only worth a note that the other is not.
 */
export async function examineLocal(options: ExamineOptions = {}): Promise<Examination[]> {
  const { uid } = options.place ?? socketPlace();
  const uris = uid === 0 ? ["qemu:///system"] : ["qemu:///system", "qemu:///session"];
  const examinations = await Promise.all(uris.map((uri) => examine(uri, options)));
  if (examinations.every(({ findings }) => findings.some(isMissing))) return examinations;
  return examinations.map((examination) => ({ ...examination, findings: examination.findings.map(excuse) }));
}

function isMissing({ id }: Finding): boolean {
  return id === "socket-missing";
}

function excuse(finding: Finding): Finding {
  return isMissing(finding) ? { ...finding, severity: "note" } : finding;
}
