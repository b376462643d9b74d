import { Schema } from "./params.ts";

/** Beyond so many nodes the table starts afresh: what a daemon invents cannot make it grow without bound. */
const MAX_NODES = 500_000;

/** One step of the table: the key and type that lead here, and what followed before. */
export class SchemaNode {
  readonly key: string;
  readonly type: number;
  readonly parent: SchemaNode | undefined;
  readonly depth: number;
  /** The child taken last: records of one shape repeat, so the guess is nearly always right. */
  last: SchemaNode | undefined = undefined;
  schema: Schema | undefined = undefined;
  /** For decoders: key and type as their wire has them, so that a repeated key is compared and never decoded. */
  wire: Int32Array | undefined = undefined;
  readonly children = new Map<string, SchemaNode>();

  constructor(key: string, type: number, parent: SchemaNode | undefined) {
    this.key = key;
    this.type = type;
    this.parent = parent;
    this.depth = parent === undefined ? 0 : parent.depth + 1;
  }
}

/**
 * Gives records of the same shape the same Schema object. It is a trie over (key, type): a decoder walks it while it
 * reads, one step per parameter, and the node where the record ends holds the schema. So a record's keys are compared
 * once, as they pass, and never hashed as a whole.
 */
export class SchemaTable {
  #root = new SchemaNode("", 0, undefined);
  #nodes = 0;

  /** Where the walk of a record begins. */
  get root(): SchemaNode {
    if (this.#nodes > MAX_NODES) {
      this.#root = new SchemaNode("", 0, undefined);
      this.#nodes = 0;
    }
    return this.#root;
  }

  /** One step: the node for `key` of `type` after `node`. */
  step(node: SchemaNode, key: string, type: number): SchemaNode {
    const guess = node.last;
    if (guess !== undefined && guess.key === key && guess.type === type) return guess;
    const name = `${type}${key}`;
    let child = node.children.get(name);
    if (child === undefined) {
      child = new SchemaNode(key, type, node);
      node.children.set(name, child);
      this.#nodes++;
    }
    node.last = child;
    return child;
  }

  /** The schema of the keys on the way to `node`. */
  schemaAt(node: SchemaNode): Schema {
    if (node.schema === undefined) {
      const keys = new Array<string>(node.depth);
      const types = new Uint8Array(node.depth);
      for (let at = node; at.parent !== undefined; at = at.parent) {
        keys[at.depth - 1] = at.key;
        types[at.depth - 1] = at.type;
      }
      node.schema = new Schema(keys, types);
    }
    return node.schema;
  }

  /** The schema of a whole list of keys and types. */
  schemaOf(keys: readonly string[], types: Uint8Array): Schema {
    let node = this.root;
    for (let i = 0; i < keys.length; i++) node = this.step(node, keys[i]!, types[i]!);
    return this.schemaAt(node);
  }
}
