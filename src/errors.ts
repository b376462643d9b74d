/**
 * The errors and their codes alone, for code that only handles them: it loads nothing else.
 *
 * @module virstream/errors
 */

export {
  ERROR_CODES,
  type ErrorCode,
  type LibvirtErrorInfo,
  VirstreamError,
  type VirstreamErrorDetails,
} from "./model/error.ts";
