@testable import LoRA
import TensorCore

/// All the bytes of an adapter, for telling that nothing changed.
struct Snapshot: Equatable {
    let parameters: [UInt32]
    let optimizer: [UInt32]?
    let optimizerName: String?
    let optimizerSteps: UInt64?
    let optimizerScalars: [UInt64]?
    let protection: [UInt32]?
    let accumulated: UInt64?
    let plateau: PlateauState?
    let version: UInt64
    let steps: UInt64
    let stateHash: UInt64

    init(_ adapter: LoRAAdapter) {
        parameters = adapter.parameters.bits
        optimizer = adapter.optimizerState?.storage.bits
        optimizerName = adapter.optimizerState?.name
        optimizerSteps = adapter.optimizerState?.steps
        optimizerScalars = adapter.optimizerState.map { [$0.distance.bitPattern, $0.squaredGradients.bitPattern] }
        protection = adapter.protection?.storage.bits
        accumulated = adapter.protection?.accumulated
        plateau = adapter.plateau
        version = adapter.version
        steps = adapter.steps
        stateHash = adapter.stateHash
    }
}

extension LoRAAdapter {
    var values: [Float] { parameters.withBuffer { $0.array } }

    /// The same adapter with other parameters.
    func with(_ values: [Float]) -> LoRAAdapter {
        var copy = self
        copy.parameters = Floats(values).storage
        return copy
    }
}
