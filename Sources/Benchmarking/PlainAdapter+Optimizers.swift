/// Optimizers' steps in plain Float64 loops.
extension PlainAdapter {
    /// Adam with its usual constants, step number `step` from 1. The moments are of A, then of B transposed.
    public mutating func adamStep(
        _ samples: Samples, rate: Double, step: Int, first: inout [Double], second: inout [Double]
    ) {
        let gradient = clipped(gradient(samples))
        let all = gradient.down + gradient.up
        var (power1, power2) = (1.0, 1.0)
        for _ in 0..<step { (power1, power2) = (power1 * 0.9, power2 * 0.999) }
        for i in all.indices {
            first[i] = 0.9 * first[i] + 0.1 * all[i]
            second[i] = 0.999 * second[i] + 0.001 * all[i] * all[i]
            let change = rate * (first[i] / (1 - power1)) / ((second[i] / (1 - power2)).squareRoot() + 1e-8)
            if i < down.count { down[i] -= change } else { up[i - down.count] -= change }
        }
    }

    /// A step by the gradient with `penalty`·F·θ added before the clip, where F, of A and then of B transposed, is a running mean
    /// of that sum's squares.
    public mutating func penalisedStep(_ samples: Samples, rate: Double, penalty: Double, importance: inout [Double]) {
        var gradient = gradient(samples)
        for i in down.indices {
            gradient.down[i] += penalty * importance[i] * down[i]
            gradient.up[i] += penalty * importance[i + down.count] * up[i]
        }
        let step = clipped(gradient)
        for i in down.indices {
            down[i] -= rate * step.down[i]
            up[i] -= rate * step.up[i]
        }
        for (i, value) in (gradient.down + gradient.up).enumerated() {
            importance[i] = 0.9 * importance[i] + 0.1 * value * value
        }
    }

    /// A step held near an anchor: the implicit step of the penalty.
    mutating func protectedStep(
        _ samples: Samples, rate: Double, strength: Double, anchor: [Double], fisher: [Double]
    ) {
        step(samples, rate: rate)
        func held(_ value: Double, _ i: Int) -> Double {
            let pull = rate * strength * fisher[i]
            return (value + pull * anchor[i]) / (1 + pull)
        }
        for i in down.indices { down[i] = held(down[i], i) }
        for i in up.indices { up[i] = held(up[i], i + down.count) }
    }

    /// Preconditioned by the other factor's damped Gram matrix; norms are clipped before.
    public mutating func riemannianStep(_ samples: Samples, rate: Double, damping: Double) {
        let gradient = clipped(gradient(samples))
        let ofDown = preconditioned(gradient.down, by: up, damping)
        let ofUp = preconditioned(gradient.up, by: down, damping)
        for i in down.indices {
            down[i] -= rate * ofDown[i]
            up[i] -= rate * ofUp[i]
        }
    }

    /// (M·Mᵀ + δI)⁻¹·G, by elimination.
    private func preconditioned(_ g: [Double], by m: [Double], _ damping: Double) -> [Double] {
        let d = dimension
        var rows = (0..<rank).map { i in
            (0..<rank).map { j in
                (0..<d).reduce(i == j ? damping : 0) { $0 + m[i * d + $1] * m[j * d + $1] }
            } + g[(i * d)..<((i + 1) * d)]
        }
        for pivot in 0..<rank {
            let own = rows[pivot].map { $0 / rows[pivot][pivot] }
            rows[pivot] = own
            for other in 0..<rank where other != pivot {
                let factor = rows[other][pivot]
                for j in rows[other].indices { rows[other][j] -= factor * own[j] }
            }
        }
        return rows.flatMap { $0[rank...] }
    }
}
