/** The memory balloon in a guest's definition. */
export interface Balloon {
  /** `virtio` as a rule; `none` when the guest has no balloon. */
  readonly model: string;
  /** How often the guest reports its memory, in seconds; 0 when it never does. */
  readonly periodS: number;
}

/**
 * The balloon in the XML that libvirt gives out for a domain; undefined when there is no word of one. It is looked for
 * among the devices only, so that nothing which somebody put into the title or the metadata is taken for it. libvirt
 * writes its XML in one way, whatever was given to it: that makes this enough.
 */
export function readBalloon(xml: string): Balloon | undefined {
  const devices = /^ {2}<devices>$([\s\S]*?)^ {2}<\/devices>$/m.exec(xml)?.[1] ?? "";
  const element = /^ {4}<memballoon model='([\w-]+)'[^>]*?(?:\/>|>([\s\S]*?)^ {4}<\/memballoon>)$/m.exec(devices);
  if (element === null) return undefined;
  const period = /^ {6}<stats period='(\d+)'\/>$/m.exec(element[2] ?? "")?.[1];
  return { model: element[1]!, periodS: Number(period ?? 0) };
}
