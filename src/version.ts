/** The version of this package. A constant, because a bundle of a program has no package.json to read. */
export const VERSION = "0.1.0";
