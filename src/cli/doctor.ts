import { type Examination, examine, examineLocal } from "../doctor/examination.ts";
import { needsFix } from "../doctor/finding.ts";
import { LIBVIRT_SCHEMES } from "../drivers/libvirt/driver.ts";
import { VirstreamError } from "../model/error.ts";
import type { DoctorArguments } from "./arguments.ts";
import { examinationText } from "./format/examination.ts";
import { ExitCode, UsageError } from "./usage.ts";

/** `virstream doctor`: examines a libvirt host. Resolves with the exit code. */
export async function doctor(args: DoctorArguments, signal: AbortSignal): Promise<number> {
  const examinations = await examineAll(args.uri, signal);
  const broken = examinations.some(({ findings }) => needsFix(findings));
  process.stdout.write(
    args.format === "json"
      ? `${JSON.stringify({ examinations }, undefined, 2)}\n`
      : examinations.map((examination) => examinationText(examination, args.all)).join("\n"),
  );
  return broken ? ExitCode.failed : ExitCode.ok;
}

async function examineAll(uri: string | undefined, signal: AbortSignal): Promise<Examination[]> {
  if (uri === undefined) return examineLocal({ signal });
  const scheme = /^[^:]*/.exec(uri)![0].toLowerCase();
  if (scheme === "test") throw new UsageError("the simulated host needs no doctor: doctor examines libvirt hosts");
  if (!LIBVIRT_SCHEMES.includes(scheme)) {
    throw new UsageError(
      `doctor examines libvirt hosts, such as qemu:///system, not ${JSON.stringify(scheme)}` +
        `${scheme === "ws" || scheme === "wss" ? ": run it on the host where that server runs" : ""}`,
    );
  }
  try {
    return [await examine(uri, { signal })];
  } catch (error) {
    if (error instanceof VirstreamError && error.code === "invalid-uri") throw new UsageError(error.message);
    throw error;
  }
}
