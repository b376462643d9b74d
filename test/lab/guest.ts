import { randomUUID } from "node:crypto";
import { open, readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { commandError, mustRun, runCommand } from "./command.ts";
import type { Libvirtd } from "./libvirtd.ts";
import { processGone } from "./processes.ts";

/** The shape of a guest. All but the name has a default. */
export interface GuestOptions {
  readonly name: string;
  /** Default: a random one. */
  readonly uuid?: string;
  /** Default 1. */
  readonly vcpus?: number;
  /** Default 16. Host memory taken is about 40 MB more. */
  readonly memoryMiB?: number;
  /** Virtio disks of 1 MiB: the first raw and read twice a second by a guest that runs, the others qcow2. Default 1. */
  readonly disks?: number;
  /** Network cards, each on a tap device of its own that leads nowhere. Default 0. */
  readonly nics?: number;
  /** Default 0; the first serves the first disk. */
  readonly iothreads?: number;
  /** Makes the first disk an empty qcow2 overlay on a qcow2 base, which nothing reads. Default false. */
  readonly backingChain?: boolean;
  /** Makes the first disk a qcow2 that cannot be read: QEMU pauses the guest with an I/O error when its firmware tries. */
  readonly brokenDisk?: boolean;
  /**
   * Makes the first disk a qcow2 in this folder, to which the guest writes until the folder is full: QEMU then pauses the guest.
   * It must be a file system of at most a few MiB.
   */
  readonly fillsDisk?: string;
  /** Makes a guest with a raw disk keep one processor busy. Default false. */
  readonly busy?: boolean;
  /** What is inside its `<metadata>` element. */
  readonly metadata?: string;
  /** Further devices, as XML. */
  readonly devices?: string;
  /** Starts the guest with its CPUs stopped, so that its counters stand still. Default false. */
  readonly paused?: boolean;
  /** Only defines the guest. Default false. */
  readonly shutOff?: boolean;
  /** Starts the guest without defining it: it vanishes when it stops. Default false. */
  readonly transient?: boolean;
  /**
   * Default: KVM for a guest that starts paused, where KVM can be used, else emulation. Where the machine is a virtual one itself,
   * a guest that runs on KVM can keep a whole CPU busy with its firmware; an emulated one cannot.
   */
  readonly kvm?: boolean;
}

/**
 * Defines a guest, starts it unless `shutOff`, and resolves when libvirt says that it runs (or is paused).
 * It has no operating system: left running, it costs a tenth of a second of CPU time for its firmware and then about one percent,
 * for the half-second reads of its first disk if that is raw. Rejects with libvirt's message.
 */
export async function createGuest(libvirtd: Libvirtd, options: GuestOptions): Promise<Guest> {
  if (options.shutOff && (options.transient || options.paused)) {
    throw new Error("a guest that is shut off is neither transient nor paused");
  }
  const uuid = options.uuid ?? randomUUID();
  const kvm = options.kvm ?? (options.paused === true && (await kvmUsable()));
  const disks = await createDisks(libvirtd.directory, uuid, options);
  // Files are named by uuid, not by name: names may hold spaces, quotes, or any character at all.
  const file = join(libvirtd.directory, "disks", `${uuid}.xml`);
  await writeFile(file, domainXml({ ...options, uuid, kvm }, disks));
  const guest = new Guest(libvirtd, options.name, uuid, kvm);
  const paused = options.paused ? " --paused" : "";
  if (options.transient) {
    await guest.virsh(`create ${file}${paused}`);
  } else {
    // One virsh for both commands: half of its time is the connection.
    await guest.virsh(`define ${file}${options.shutOff ? "" : `; start ${uuid}${paused}`}`);
  }
  if (!options.shutOff) await guest.refresh();
  return guest;
}

/** `createGuest` for a guest that is defined and not started. */
export function defineGuest(libvirtd: Libvirtd, options: GuestOptions): Promise<Guest> {
  return createGuest(libvirtd, { ...options, shutOff: true });
}

/**
 * Creates `count` guests of one shape, two at a time, and resolves with them in order.
 * They are named `<name>-000`, `<name>-001` and so on; `name` is "guest" by default.
 * Reports progress every second on standard error when VIRSTREAM_TEST_VERBOSE is set.
 */
export async function createGuests(
  libvirtd: Libvirtd,
  count: number,
  options: Omit<Partial<GuestOptions>, "uuid"> = {},
): Promise<Guest[]> {
  const guests: Guest[] = [];
  let next = 0;
  let done = 0;
  const report = () => process.stderr.write(`lab: ${done} of ${count} guests\n`);
  const timer = process.env.VIRSTREAM_TEST_VERBOSE ? setInterval(report, 1_000) : undefined;
  const work = async () => {
    for (let index = next++; index < count; index = next++) {
      const name = `${options.name ?? "guest"}-${String(index).padStart(3, "0")}`;
      guests[index] = await createGuest(libvirtd, { ...options, name });
      done++;
    }
  };
  try {
    await Promise.all([work(), work()]);
  } finally {
    clearInterval(timer);
  }
  return guests;
}

/** A guest of a private libvirtd. Get one from `createGuest`. */
export class Guest {
  readonly name: string;
  readonly uuid: string;
  /** Whether it runs on KVM; otherwise it is emulated. */
  readonly kvm: boolean;
  readonly #libvirtd: Libvirtd;
  #pid: number | undefined;

  constructor(libvirtd: Libvirtd, name: string, uuid: string, kvm: boolean) {
    this.#libvirtd = libvirtd;
    this.name = name;
    this.uuid = uuid;
    this.kvm = kvm;
  }

  /** The id of its QEMU process as seen from here; undefined when it was shut off by `kill` or `destroy` or never started. */
  get pid(): number | undefined {
    return this.#pid;
  }

  /** Stops its QEMU process with SIGSTOP, as a hung monitor does: calls that ask it hang. */
  freeze(): void {
    process.kill(this.#running(), "SIGSTOP");
  }

  /** Lets a frozen guest go on. Calls that hung are answered. */
  thaw(): void {
    process.kill(this.#running(), "SIGCONT");
  }

  /** Kills its QEMU process, frozen or not, as a crash does. Resolves when the process is gone; libvirt notices soon after. */
  async kill(): Promise<void> {
    const pid = this.#running();
    process.kill(pid, "SIGKILL");
    await processGone(pid);
    this.#pid = undefined;
  }

  /** Starts a defined guest that is shut off. */
  async start({ paused = false } = {}): Promise<void> {
    await this.virsh(`start ${this.uuid}${paused ? " --paused" : ""}`);
    await this.refresh();
  }

  /** Stops its CPUs, as `virsh suspend` does; QEMU still answers. */
  async suspend(): Promise<void> {
    await this.virsh(`suspend ${this.uuid}`);
  }

  /** Lets its CPUs go on. */
  async resume(): Promise<void> {
    await this.virsh(`resume ${this.uuid}`);
  }

  /** Shuts it off by way of libvirt. For a frozen guest that takes over 10 s, and libvirt holds its lock meanwhile. */
  async destroy(): Promise<void> {
    await this.virsh(`destroy ${this.uuid}`);
    this.#pid = undefined;
  }

  /** Defines it again, as it was, after `undefine`. */
  async define(): Promise<void> {
    await this.virsh(`define ${join(this.#libvirtd.directory, "disks", `${this.uuid}.xml`)}`);
  }

  /** Removes its definition. A guest that runs goes on and becomes transient. */
  async undefine(): Promise<void> {
    await this.virsh(`undefine ${this.uuid}`);
  }

  /** Runs virsh commands (separated by semicolons) on the guest's daemon; rejects with libvirt's message when one fails. */
  async virsh(commands: string): Promise<string> {
    const result = await this.#libvirtd.virsh(commands);
    if (result.code !== 0) throw commandError(`${this.name}: virsh ${commands}`, result);
    return result.stdout;
  }

  /** Finds its QEMU process again, for a guest that was started by other means. */
  async refresh(): Promise<void> {
    const path = join(this.#libvirtd.directory, "run/libvirt/qemu", `${this.name}.pid`);
    const inner = await readFile(path, "utf8").catch(() => "0");
    this.#pid = await this.#libvirtd.outerPid(Number(inner));
  }

  #running(): number {
    if (this.#pid === undefined) throw new Error(`guest ${this.name} does not run`);
    return this.#pid;
  }
}

let kvmAnswer: Promise<boolean> | undefined;

/** Tells whether KVM guests start here, found out once by running one without libvirt for a fifth of a second. */
export function kvmUsable(): Promise<boolean> {
  // That /dev/kvm exists says little: a virtual machine may have it and fail at the first instruction.
  const qemu = "qemu-system-x86_64 -machine pc,accel=kvm -m 16 -nodefaults -display none -monitor stdio";
  kvmAnswer ??= runCommand("sh", ["-c", `(sleep 0.2; echo info status; echo quit) | ${qemu}`], {
    timeout: 10_000,
  }).then(({ code, stdout }) => code === 0 && stdout.includes("VM status: running"));
  return kvmAnswer;
}

/**
 * A boot sector that sleeps for nine ticks of the clock (half a second) and reads itself again, for ever: a guest that
 * runs it has counters that move, and takes about one percent of a CPU.
 *
 *     sti; again: mov cx, 9; wait: hlt; loop wait; xor ax, ax; mov es, ax; mov bx, 0x7e00
 *     mov ax, 0x0201; mov cx, 1; mov dx, 0x80; int 0x13; jmp again
 */
const bootSector = Buffer.concat([
  Buffer.from("fbb90900f4e2fd31c08ec0bb007eb80102b90100ba8000cd13ebe6".padEnd(1020, "0"), "hex"),
  Buffer.from([0x55, 0xaa]),
]);

/**
 * A boot sector that writes to one sector of each 64 KiB of its disk, as fast as it can.
 *
 *     xor ax, ax; mov ds, ax; again: mov si, packet; mov ax, 0x4300; mov dl, 0x80; int 0x13
 *     add word [packet + 8], 128; jmp again; packet: size, count 1, buffer 0:0x7c00, sector 128
 */
export const fillingSector = Buffer.concat([
  Buffer.from("31c08ed8be167cb80043b280cd1381061e7c8000ebee10000100007c00008000".padEnd(1020, "0"), "hex"),
  Buffer.from([0x55, 0xaa]),
]);

/** A boot sector that keeps its processor busy: `again: jmp again`. */
const busySector = Buffer.concat([Buffer.from("ebfe".padEnd(1020, "0"), "hex"), Buffer.from([0x55, 0xaa])]);

interface Disk {
  readonly path: string;
  readonly format: "raw" | "qcow2";
}

async function createDisks(directory: string, uuid: string, options: GuestOptions): Promise<Disk[]> {
  const disks: Disk[] = [];
  for (let index = 0; index < (options.disks ?? 1); index++) {
    const format = index === 0 && !options.backingChain && !options.brokenDisk ? "raw" : "qcow2";
    const path = join(directory, "disks", `${uuid}-${index}.${format}`);
    if (index === 0 && options.fillsDisk !== undefined) {
      const raw = join(directory, "disks", `${uuid}-filling.raw`);
      await writeFile(raw, fillingSector);
      const image = join(options.fillsDisk, `${uuid}.qcow2`);
      await mustRun("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", raw, image]);
      await mustRun("qemu-img", ["resize", "-q", image, "64M"]);
      disks.push({ path: image, format: "qcow2" });
      continue;
    }
    if (format === "raw") {
      await writeFile(path, options.busy ? busySector : bootSector);
      await truncate(path, 1 << 20);
    } else if (index === 0 && options.backingChain) {
      const base = join(directory, "disks", `${uuid}-base.qcow2`);
      await mustRun("qemu-img", ["create", "-q", "-f", "qcow2", base, "1M"]);
      await mustRun("qemu-img", ["create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", path]);
    } else {
      await mustRun("qemu-img", ["create", "-q", "-f", "qcow2", path, "1M"]);
      if (index === 0) await breakFirstCluster(path);
    }
    disks.push({ path, format });
  }
  return disks;
}

/** Makes the first cluster of a qcow2 image a compressed one whose data is no compressed data: it cannot be read. */
async function breakFirstCluster(path: string): Promise<void> {
  const file = await open(path, "r+");
  try {
    const { buffer } = await file.read(Buffer.alloc(8), 0, 8, 40);
    // The entry of the first table points to a second table, whose first entry points to zeros.
    await file.write(Buffer.from("8000000000050000", "hex"), 0, 8, Number(buffer.readBigUInt64BE()));
    await file.truncate(0x60000);
    await file.write(Buffer.from("4000000000040000", "hex"), 0, 8, 0x50000);
  } finally {
    await file.close();
  }
}

function domainXml(options: GuestOptions & { uuid: string; kvm: boolean }, disks: readonly Disk[]): string {
  const iothreads = options.iothreads ?? 0;
  const policy = options.brokenDisk ? ' error_policy="stop" rerror_policy="stop"' : "";
  return `<domain type="${options.kvm ? "kvm" : "qemu"}">
  <name>${escapeXml(options.name)}</name>
  <uuid>${options.uuid}</uuid>
  <metadata>${options.metadata ?? ""}</metadata>
  <memory unit="MiB">${options.memoryMiB ?? 16}</memory>
  <vcpu>${options.vcpus ?? 1}</vcpu>
  ${iothreads > 0 ? `<iothreads>${iothreads}</iothreads>` : ""}
  <os><type arch="x86_64" machine="pc">hvm</type></os>
  <devices>
    <controller type="usb" model="none"/>
    ${disks
      .map(
        ({ path, format }, index) => `<disk type="file" device="disk">
      <driver name="qemu" type="${format}"${index === 0 && iothreads > 0 ? ' iothread="1"' : ""}${policy}/>
      <source file="${path}"/>
      <target dev="vd${String.fromCharCode(97 + index)}" bus="virtio"/>
    </disk>`,
      )
      .join("\n    ")}
    ${'<interface type="ethernet"><model type="virtio"/><rom enabled="no"/></interface>'.repeat(options.nics ?? 0)}
    ${options.devices ?? ""}
    <memballoon model="virtio"><stats period="5"/></memballoon>
  </devices>
</domain>
`;
}

/** Makes a text safe inside XML elements and attributes. */
export function escapeXml(text: string): string {
  return text.replace(/[<>&"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
