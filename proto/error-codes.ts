/**
 * The codes of the errors that a caller can meet, with their HTTP statuses: AWS's own names and nothing else. For the
 * services of the Query protocol a code is what that protocol says, not the shape's name.
 *
 * Statuses are those of the service models, and of the AWS signature layer for the authentication errors. A test holds
 * them against the models.
 */

/** Common to all AWS services. */
export const commonErrorCodes = {
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

export const ecsErrorCodes = {
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
} as const

export const iamErrorCodes = {
  ConcurrentModification: 409,
  DeleteConflict: 409,
  EntityAlreadyExists: 409,
  EntityTemporarilyUnmodifiable: 409,
  InvalidInput: 400,
  LimitExceeded: 409,
  MalformedPolicyDocument: 400,
  NoSuchEntity: 404,
  NotSupportedService: 404,
  PolicyNotAttachable: 400,
  ServiceFailure: 500,
  UnmodifiableEntity: 400,
  // The Query protocol's words for a parameter that is wrong or missing.
  InvalidParameterValue: 400,
  ValidationError: 400,
} as const

export const stsErrorCodes = {
  PackedPolicyTooLarge: 400,
} as const

export const secretsManagerErrorCodes = {
  DecryptionFailure: 400,
  EncryptionFailure: 400,
  InternalServiceError: 500,
  InvalidNextTokenException: 400,
  InvalidRequestException: 400,
  MalformedPolicyDocumentException: 400,
  PreconditionNotMetException: 400,
  PublicPolicyException: 400,
  ResourceExistsException: 400,
  ValidationException: 400,
} as const

export const ssmErrorCodes = {
  HierarchyLevelLimitExceededException: 400,
  InternalServerError: 500,
  InvalidAllowedPatternException: 400,
  InvalidFilterKey: 400,
  InvalidFilterOption: 400,
  InvalidFilterValue: 400,
  InvalidKeyId: 400,
  InvalidNextToken: 400,
  InvalidPolicyTypeException: 400,
  InvalidResourceId: 400,
  InvalidResourceType: 400,
  ParameterAlreadyExists: 400,
  ParameterLimitExceeded: 400,
  ParameterMaxVersionLimitExceeded: 400,
  ParameterNotFound: 400,
  ParameterPatternMismatchException: 400,
  ParameterVersionLabelLimitExceeded: 400,
  ParameterVersionNotFound: 400,
  TooManyTagsError: 400,
  TooManyUpdates: 400,
  UnsupportedParameterType: 400,
} as const
