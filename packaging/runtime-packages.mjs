import { readFileSync } from "node:fs";

/**
 * The packages that virstream runs with: those that package.json names as dependencies or as peers, optional ones too, and what
 * these need.
 *
 * @returns {Map<string, { name: string, licence: string | undefined }>} by their paths in package-lock.json, `node_modules/NAME`
 */
export function runtimePackages() {
  const { packages } = JSON.parse(readFileSync(new URL("../package-lock.json", import.meta.url), "utf8"));
  const found = new Map();
  const visit = (from, { dependencies, optionalDependencies, peerDependencies, peerDependenciesMeta = {} }) => {
    const isOptional = (name) => peerDependenciesMeta[name]?.optional ?? name in (optionalDependencies ?? {});
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies, ...peerDependencies })) {
      const path = pathOf(packages, from, name);
      if (path === undefined && !isOptional(name))
        throw new Error(`package-lock.json has no ${name}, which ${from} needs`);
      // An optional peer of another package is of no use to virstream.
      const unused = from !== "" && peerDependenciesMeta[name]?.optional;
      if (path === undefined || unused || found.has(path)) continue;
      found.set(path, { name, licence: packages[path].license });
      visit(path, packages[path]);
    }
  };
  visit("", packages[""]);
  return found;
}

/**
 * The packages with parts in the live page, which `npm run build` has made, and the texts of their licences.
 *
 * @returns {Map<string, string>} by name
 */
export function bundledPackages() {
  const sections = readFileSync(new URL("../dist/page/licences.txt", import.meta.url), "utf8").split("\n----\n\n");
  return new Map(sections.map((section) => [section.split("\n")[0], section.slice(section.indexOf("\n")).trim()]));
}

/** Where Node finds a package that another one imports: in its folder, or in one further up. */
function pathOf(packages, from, name) {
  for (let folder = from; ; ) {
    const path = `${folder}${folder === "" ? "" : "/"}node_modules/${name}`;
    if (path in packages || folder === "") return path in packages ? path : undefined;
    folder = folder.slice(0, Math.max(0, folder.lastIndexOf("node_modules/") - 1));
  }
}
