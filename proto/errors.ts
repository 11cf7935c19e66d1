/**
 * The errors that a caller can meet: AWS's own names and statuses, and nothing else. Each is a request error (the
 * caller can mend it) except ServerException, which stands for trouble of ours.
 *
 * Statuses are those of the ECS service model, and of the AWS signature layer for the authentication errors.
 */

const statusByErrorCode = {
  // ECS's own, from its model.
  AccessDeniedException: 403,
  AttributeLimitExceededException: 400,
  BlockedException: 400,
  ClientException: 400,
  ClusterContainsCapacityProviderException: 400,
  ClusterContainsContainerInstancesException: 400,
  ClusterContainsServicesException: 400,
  ClusterContainsTasksException: 400,
  ClusterNotFoundException: 400,
  ConflictException: 400,
  InvalidParameterException: 400,
  LimitExceededException: 400,
  MissingVersionException: 400,
  NoUpdateAvailableException: 400,
  PlatformTaskDefinitionIncompatibilityException: 400,
  PlatformUnknownException: 400,
  ResourceInUseException: 400,
  ResourceNotFoundException: 400,
  ServerException: 500,
  ServiceDeploymentNotFoundException: 400,
  ServiceNotActiveException: 400,
  ServiceNotFoundException: 400,
  TargetNotConnectedException: 400,
  TargetNotFoundException: 400,
  TaskSetNotFoundException: 400,
  UnsupportedFeatureException: 400,
  UpdateInProgressException: 400,
  // What an agent meets on its channels (ACS), which the real agent knows by these names.
  InactiveInstanceException: 400,
  InvalidClusterException: 400,
  InvalidInstanceException: 400,
  // Common to all AWS services.
  ExpiredTokenException: 403,
  IncompleteSignatureException: 400,
  InvalidSignatureException: 403,
  MissingAuthenticationTokenException: 403,
  RequestEntityTooLargeException: 413,
  SerializationException: 400,
  ThrottlingException: 400,
  UnknownOperationException: 400,
  UnrecognizedClientException: 403,
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
