/** What the agent asks of Docker Engine about networks. */
import type Docker from 'dockerode'
import { absent } from './docker-call.ts'
import type { Call } from './docker-call.ts'
import type { EngineLimits } from './docker-limits.ts'
import { EngineError } from './engine.ts'
import type { Engine, ObservedNetwork } from './engine.ts'

type NetworkCalls =
  | 'createNetwork'
  | 'inspectNetwork'
  | 'listNetworks'
  | 'removeNetwork'
  | 'connectNetwork'
  | 'disconnectNetwork'

export function networkCalls(call: Call, limits: EngineLimits): Pick<Engine, NetworkCalls> {
  const inspectNetwork = async (name: string): Promise<ObservedNetwork | undefined> => {
    const inspected = await absent(
      call(`inspect network ${name}`, limits.inspectMs, (docker, abortSignal) =>
        abortable(docker.getNetwork(name)).inspect({ abortSignal }),
      ),
    )
    return inspected === undefined ? undefined : observedNetwork(inspected)
  }
  return {
    inspectNetwork,

    async createNetwork({ name, driver, internal, cidr, gateway, reserved, options, labels }) {
      const ipam = {
        Subnet: cidr,
        ...(gateway === undefined ? {} : { Gateway: gateway }),
        ...(reserved === undefined ? {} : { AuxiliaryAddresses: reserved }),
      }
      await call(`create network ${name}`, limits.networkMs, (docker, abortSignal) =>
        docker.createNetwork({
          Name: name,
          CheckDuplicate: true,
          Driver: driver,
          Internal: internal,
          IPAM: { Driver: 'default', Config: [ipam] },
          Options: options,
          Labels: labels,
          abortSignal,
        }),
      )
    },

    async listNetworks(label) {
      const listed = await call('list networks', limits.listMs, (docker, abortSignal) =>
        docker.listNetworks({ filters: { label: [label] }, abortSignal } as object),
      )
      // The list does not say which containers are in them.
      const each = await Promise.all(listed.map(async ({ Id }) => inspectNetwork(Id)))
      return each.filter((network) => network !== undefined)
    },

    async removeNetwork(nameOrId) {
      await absent(
        call(`remove network ${nameOrId}`, limits.networkMs, (docker, abortSignal) =>
          abortable(docker.getNetwork(nameOrId)).remove({ abortSignal }),
        ),
      )
    },

    async connectNetwork(name, containerId) {
      await call(`connect container ${containerId} to network ${name}`, limits.networkMs, (docker, abortSignal) =>
        abortable(docker.getNetwork(name)).connect({ Container: containerId, abortSignal }),
      ).catch((error: unknown) => {
        if (error instanceof EngineError && /already exists in network/.test(error.message)) return
        throw error
      })
    },

    async disconnectNetwork(name, containerId) {
      const doing = `disconnect container ${containerId} from network ${name}`
      await absent(
        call(doing, limits.networkMs, (docker, abortSignal) =>
          abortable(docker.getNetwork(name)).disconnect({ Container: containerId, abortSignal }),
        ),
      ).catch((error: unknown) => {
        if (error instanceof EngineError && /is not connected to/.test(error.message)) return
        throw error
      })
    },
  }
}

/** dockerode takes an abort signal among the options, which its types do not say. */
interface Abortable {
  inspect(options: object): Promise<InspectedNetwork>
  remove(options: object): Promise<unknown>
  connect(options: object): Promise<unknown>
  disconnect(options: object): Promise<unknown>
}

function abortable(network: Docker.Network): Abortable {
  return network as unknown as Abortable
}

/** The members read here, of the engine's `GET /networks/{id}`. */
interface InspectedNetwork {
  readonly Id: string
  readonly Name: string
  readonly Driver: string
  readonly Internal?: boolean
  readonly IPAM?: { readonly Config?: readonly { readonly Subnet?: string; readonly Gateway?: string }[] | null }
  readonly Options?: Readonly<Record<string, string>> | null
  readonly Labels?: Readonly<Record<string, string>> | null
  readonly Containers?: Readonly<Record<string, unknown>> | null
}

function observedNetwork(inspected: InspectedNetwork): ObservedNetwork {
  const [ipam] = inspected.IPAM?.Config ?? []
  return {
    id: inspected.Id,
    name: inspected.Name,
    driver: inspected.Driver,
    internal: inspected.Internal === true,
    cidr: ipam?.Subnet ?? '',
    gateway: ipam?.Gateway,
    options: inspected.Options ?? {},
    labels: inspected.Labels ?? {},
    containerIds: Object.keys(inspected.Containers ?? {}),
  }
}
