/**
 * The errors that a caller can meet (error-codes.ts). Each is a request error (the caller can mend it) except those of
 * status 500 and above, which stand for trouble of ours.
 */
import {
  commonErrorCodes,
  ecsErrorCodes,
  iamErrorCodes,
  secretsManagerErrorCodes,
  ssmErrorCodes,
  stsErrorCodes,
} from './error-codes.ts'

const statusByErrorCode = {
  ...commonErrorCodes,
  ...ecsErrorCodes,
  ...iamErrorCodes,
  ...stsErrorCodes,
  ...secretsManagerErrorCodes,
  ...ssmErrorCodes,
} as const

export type ErrorCode = keyof typeof statusByErrorCode

/** A refusal in AWS's form. Thrown by handlers and by the edge; the turn drops the request's writes. */
export class ApiError extends Error {
  readonly code: ErrorCode
  readonly httpStatus: number

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = code
    this.code = code
    this.httpStatus = statusByErrorCode[code]
  }
}

export function isApiError(error: unknown): error is ApiError {
  return error instanceof ApiError
}

/** ECS's ClientException: the request is well formed and asks for something that cannot be. */
export function clientError(message: string): ApiError {
  return new ApiError('ClientException', message)
}

/** ECS's InvalidParameterException: one named parameter is wrong. */
export function invalidParameter(message: string): ApiError {
  return new ApiError('InvalidParameterException', message)
}
