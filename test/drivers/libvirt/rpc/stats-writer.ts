import { XdrWriter } from "../../../../src/drivers/libvirt/rpc/xdr.ts";

/** Writes the values that only a daemon sends. */
export class StatsWriter extends XdrWriter {
  hyper(value: bigint): void {
    this.int(Number(BigInt.asIntN(32, value >> 32n)));
    this.uint(Number(BigInt.asUintN(32, value)));
  }

  double(value: number): void {
    const bytes = new DataView(new ArrayBuffer(8));
    bytes.setFloat64(0, value);
    this.hyper(bytes.getBigInt64(0));
  }

  optionalString(text: string | undefined): void {
    this.uint(text === undefined ? 0 : 1);
    if (text !== undefined) this.string(text);
  }
}
