package import TensorCore

/// The anchor and the Fisher information of one adapter under ``ElasticWeightConsolidation``.
package struct ProtectionState: Sendable {
    /// Three blocks of one number a parameter: the anchor θ*, the frozen F, the accumulating F.
    package internal(set) var storage: AlignedStorage<Float>
    /// The updates in the accumulating F.
    package internal(set) var accumulated: UInt64 = 0

    /// Anchored at the given parameters. Until a first consolidation nothing is known of which of them matter: F is zero, and
    /// nothing is held, unless `uniform` asks for F = 1, which pulls every parameter back to a warm start alike.
    init(anchoredAt parameters: AlignedStorage<Float>, uniform: Bool = false) {
        let n = parameters.count
        storage = AlignedStorage(count: 3 * n, in: .shared)
        storage.withBuffer { all in
            parameters.withBuffer { all.slice(0..<n).copy(from: $0) }
            if uniform { all.slice(n..<(2 * n)).fill(1) }
        }
    }

    /// A state that was kept somewhere.
    init(storage: AlignedStorage<Float>, accumulated: UInt64) {
        self.storage = storage
        self.accumulated = accumulated
    }

    mutating func makeUnique() {
        if !isKnownUniquelyReferenced(&storage) { storage = storage.copy() }
    }

    package func withParts<R>(_ body: (_ anchor: FloatBuffer, _ fisher: FloatBuffer, _ next: FloatBuffer) -> R) -> R {
        storage.withBuffer { all in
            let n = all.count / 3
            return body(all.slice(0..<n), all.slice(n..<(2 * n)), all.slice((2 * n)..<(3 * n)))
        }
    }

    /// Takes the squared per-sample gradients of one update into the accumulating F.
    mutating func accumulate(_ squares: FloatBuffer, decay: Float) {
        withParts { _, _, next in Kernels.blend(next, decay, squares, 1 - decay) }
        accumulated += 1
    }

    /// Moves the anchor to `parameters` and freezes the accumulated F, scaled to mean 1. Where nothing has accumulated, F stays
    /// as it was.
    mutating func consolidate(_ parameters: AlignedStorage<Float>) {
        makeUnique()
        let hasNews = accumulated > 0
        withParts { anchor, fisher, next in
            parameters.withBuffer { anchor.copy(from: $0) }
            guard hasNews else { return }
            // The bias correction of the decayed mean is one factor for all of F: scaling to mean 1 cancels it.
            var sum = 0.0
            for i in 0..<next.count { sum += Double(next[i]) }
            let mean = sum / Double(next.count)
            for i in 0..<next.count { fisher[i] = mean > 0 ? Float(Double(next[i]) / mean) : 0 }
            next.fill(0)
        }
        accumulated = 0
    }

    func combine(into hash: inout StableHash) {
        hash.combine(accumulated)
        hash.combine(storage)
    }
}
