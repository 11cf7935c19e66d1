/** The ECS operations on services: CreateService, UpdateService, DeleteService, DescribeServices, ListServices. */
import { createService } from './create-service.ts'
import { deleteService } from './delete-service.ts'
import { describeService, describeServices } from './describe-service.ts'
import { type Handlers, read, write } from './handler.ts'
import { listServices } from './list-services.ts'
import { updateService } from './update-service.ts'

export const serviceHandlers = {
  CreateService: write<'CreateService'>((tx, input, call, world) => {
    return { service: describeService(tx, createService(tx, input, call, world), ['TAGS']) }
  }),
  UpdateService: write<'UpdateService'>((tx, input, call, world) => {
    return { service: describeService(tx, updateService(tx, input, call, world), ['TAGS']) }
  }),
  DeleteService: write<'DeleteService'>((tx, input) => {
    return { service: describeService(tx, deleteService(tx, input), ['TAGS']) }
  }),
  DescribeServices: read<'DescribeServices'>((reader, input, _call, world) => describeServices(reader, input, world)),
  ListServices: read<'ListServices'>((reader, input) => listServices(reader, input)),
} satisfies Handlers
