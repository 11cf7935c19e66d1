/** The generated model holds what the wire needs, is what the installed SDK says, and agrees with our error table. */
import { readFileSync } from 'node:fs'
import { test } from 'tap'
import { generateModel, modelFileOf } from '../../scripts/generate-model.ts'
import { modelSources } from '../../scripts/model-services.ts'
import { ApiError } from '../errors.ts'
import type { ErrorCode } from '../errors.ts'
import { ecsModel, modelOf, models, operationNames } from './model.ts'

await test('generating it again gives the same bytes', async (t) => {
  t.equal(modelSources.length, 5)
  for (const source of modelSources) {
    const checkedIn = readFileSync(modelFileOf(source), 'utf8')
    t.ok(generateModel(source) === checkedIn, `${source.name}: run \`npm run model\`, and read the difference`)
  }
})

await test('it holds every operation, with shapes for what goes in and out', async (t) => {
  t.equal(operationNames.length, 88)
  t.equal(Object.keys(ecsModel.enums).length, 119)
  for (const operation of operationNames) {
    const { input, output } = modelOf(operation)
    t.ok(ecsModel.structures[input] && ecsModel.structures[output], operation)
  }
})

await test('every target is a simple type or a shape that is there', async (t) => {
  const simple = new Set(['string', 'integer', 'double', 'boolean', 'timestamp', 'blob', 'document'])
  for (const { structures, lists, maps, enums, errors } of Object.values(models)) {
    const missing = [...Object.values(structures), ...Object.values(errors)]
      .flatMap(({ members }) => Object.values(members))
      .concat(Object.values(lists), Object.values(maps))
      .map((target) => target.replace(/[[\]{}]/g, ''))
      .filter((name) => !simple.has(name) && !structures[name] && !lists[name] && !maps[name] && !enums[name])
    t.same(missing, [])
  }
})

await test('it knows what ECS requires, and the types of what it takes', async (t) => {
  const required: Readonly<Record<string, readonly string[]>> = {
    CreateServiceRequest: ['serviceName'],
    DeleteClusterRequest: ['cluster'],
    DescribeTasksRequest: ['tasks'],
    RegisterTaskDefinitionRequest: ['family', 'containerDefinitions'],
    RunTaskRequest: ['taskDefinition'],
    StartTaskRequest: ['containerInstances', 'taskDefinition'],
    StopTaskRequest: ['task'],
    SubmitAttachmentStateChangesRequest: ['attachments'],
    UpdateContainerInstancesStateRequest: ['containerInstances', 'status'],
    ContainerDependency: ['containerName', 'condition'],
    AttachmentStateChange: ['attachmentArn', 'status'],
    Ulimit: ['name', 'softLimit', 'hardLimit'],
  }
  for (const [shape, members] of Object.entries(required)) {
    t.same(ecsModel.structures[shape]?.required?.toSorted(), members.toSorted(), shape)
  }
  t.equal(ecsModel.structures['CreateClusterRequest']?.required, undefined)
  t.match(ecsModel.structures['Task']?.members, {
    createdAt: 'timestamp',
    containers: 'Containers',
    launchType: 'LaunchType',
    enableExecuteCommand: 'boolean',
    version: 'integer',
  })
  t.equal(ecsModel.structures['ContainerDefinition']?.members['dockerLabels'], '{string}')
  t.equal(ecsModel.structures['ContainerDefinition']?.members['command'], '[string]')
  t.equal(ecsModel.structures['DeploymentLifecycleHook']?.members['hookDetails'], 'document')
})

await test('it knows the enums, and which members are bound to them', async (t) => {
  t.same(ecsModel.enums['NetworkMode'], ['awsvpc', 'bridge', 'host', 'none'])
  t.same(ecsModel.enums['TransportProtocol'], ['tcp', 'udp'])
  t.ok(ecsModel.enums['LaunchType']?.includes('EXTERNAL'))
  t.equal(ecsModel.structures['RegisterTaskDefinitionRequest']?.members['networkMode'], 'NetworkMode')
  t.equal(ecsModel.structures['RegisterTaskDefinitionRequest']?.members['requiresCompatibilities'], '[Compatibility]')
  const bound = Object.values(ecsModel.structures)
    .flatMap(({ members }) => Object.values(members))
    .filter((target) => ecsModel.enums[target.replace(/[[\]{}]/g, '')] !== undefined)
  t.equal(bound.length, 212)
})

await test('it names the service as it stands on the wire', async (t) => {
  t.same(ecsModel.service, {
    id: 'ECS',
    apiVersion: '2014-11-13',
    protocol: 'aws.protocols#awsJson1_1',
    targetPrefix: 'AmazonEC2ContainerServiceV20141113',
    signingName: 'ecs',
  })
})

await test('our errors have the statuses of the model', async (t) => {
  // Errors of what Gantry doesn't have: daemons, gateways, service connect's namespaces.
  const notOurs = [
    'DaemonNotActiveException',
    'DaemonNotFoundException',
    'GatewayNotFoundException',
    'NamespaceNotFoundException',
  ]
  const ours = Object.entries(ecsModel.errors).filter(([name]) => !notOurs.includes(name))
  t.equal(ours.length, 27)
  for (const [name, { status }] of ours) t.equal(new ApiError(name as ErrorCode, 'm').httpStatus, status, name)
  t.equal(ecsModel.errors['AccessDeniedException']?.status, 403)
  t.equal(ecsModel.errors['ServerException']?.status, 500)
})
