/**
 * The errors and their codes, for code that only handles errors: this module loads nothing else.
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
