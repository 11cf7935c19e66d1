/** Every operation of Systems Manager that is built: Parameter Store. */
import type { ServiceHandlers } from '../ecs/handler.ts'
import { deleteParameter, deleteParameters } from './delete-parameters.ts'
import { describeParameters, getParameterHistory } from './describe-parameters.ts'
import { getParameter, getParameters, getParametersByPath } from './get-parameters.ts'
import { labelParameterVersion, unlabelParameterVersion } from './parameter-labels.ts'
import { addTagsToResource, listTagsForResource, removeTagsFromResource } from './parameter-tags.ts'
import { putParameter } from './put-parameter.ts'

export const ssmOperations: ServiceHandlers<'ssm'> = {
  AddTagsToResource: addTagsToResource,
  DeleteParameter: deleteParameter,
  DeleteParameters: deleteParameters,
  DescribeParameters: describeParameters,
  GetParameter: getParameter,
  GetParameterHistory: getParameterHistory,
  GetParameters: getParameters,
  GetParametersByPath: getParametersByPath,
  LabelParameterVersion: labelParameterVersion,
  ListTagsForResource: listTagsForResource,
  PutParameter: putParameter,
  RemoveTagsFromResource: removeTagsFromResource,
  UnlabelParameterVersion: unlabelParameterVersion,
}
