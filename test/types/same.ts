/** True if both types are the same. */
export type Same<One, Other> = (<T>() => T extends One ? 1 : 2) extends <T>() => T extends Other ? 1 : 2 ? true : false;

/** Compiles only if both types are the same. */
export declare function same<One, Other>(proof: Same<One, Other>): void;

/** Compiles only where no case is left. */
export declare function never(nothing: never): void;
