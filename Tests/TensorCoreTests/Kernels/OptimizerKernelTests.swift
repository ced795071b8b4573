import TensorCore
import Testing

/// The elementwise optimizer kernels against plain loops: one correctly rounded operation after another, so to the bit.
struct OptimizerKernelTests {
    let rate: Float = 0.03

    @Test(arguments: KernelCase.sizes, [(Float(0.9), Float(0), false), (0.9, 0.25, false), (0.8, 0, true)])
    func momentumStepRoundsEachOperation(n: Int, setting: (momentum: Float, dampening: Float, nesterov: Bool)) {
        var theta = KernelCase.numbers(n, 30)
        var velocity = KernelCase.numbers(n, 31)
        let g = KernelCase.numbers(n, 32)
        let (t, v) = (Floats(theta), Floats(velocity))
        for first in [true, false, false] {
            lend(t, v, Floats(g)) {
                Kernels.momentumStep(
                    $0, velocity: $1, gradient: $2, rate: rate, momentum: setting.momentum,
                    dampening: setting.dampening, nesterov: setting.nesterov, first: first)
            }
            for i in 0..<n {
                let u = first ? g[i] : setting.momentum * velocity[i] + (1 - setting.dampening) * g[i]
                velocity[i] = u
                theta[i] -= rate * (setting.nesterov ? g[i] + setting.momentum * u : u)
            }
        }
        #expect(sameBits(t.array, theta))
        #expect(sameBits(v.array, velocity))
    }

    @Test(arguments: KernelCase.sizes)
    func adaGradStepRoundsEachOperation(n: Int) {
        var theta = KernelCase.numbers(n, 33)
        var sum = KernelCase.numbers(n, 34).map { abs($0) }
        let g = KernelCase.numbers(n, 35)
        let (t, s) = (Floats(theta), Floats(sum))
        lend(t, s, Floats(g)) { Kernels.adaGradStep($0, sum: $1, gradient: $2, rate: rate, epsilon: 1e-8) }
        for i in 0..<n {
            sum[i] += g[i] * g[i]
            theta[i] -= rate * g[i] / (sum[i].squareRoot() + 1e-8)
        }
        #expect(sameBits(t.array, theta))
        #expect(sameBits(s.array, sum))
    }

    @Test(arguments: KernelCase.sizes)
    func adamStepRoundsEachOperation(n: Int) {
        var theta = KernelCase.numbers(n, 36)
        var m = KernelCase.numbers(n, 37)
        var v = KernelCase.numbers(n, 38).map { abs($0) }
        let g = KernelCase.numbers(n, 39)
        let (t, first, second) = (Floats(theta), Floats(m), Floats(v))
        lend(t, first, second, Floats(g)) {
            Kernels.adamStep(
                $0, first: $1, second: $2, gradient: $3,
                AdamScalars(beta1: 0.9, beta2: 0.999, epsilon: 1e-8, step: rate, inverseRootCorrection: 1.5, keep: 0.99)
            )
        }
        let beta1: Float = 0.9
        let beta2: Float = 0.999
        for i in 0..<n {
            m[i] = ((1 - beta1) * g[i]).addingProduct(beta1, m[i])
            v[i] = ((1 - beta2) * (g[i] * g[i])).addingProduct(beta2, v[i])
            let root = Float(1e-8).addingProduct(v[i].squareRoot(), 1.5)
            theta[i] = (-(rate * m[i] / root)).addingProduct(theta[i], 0.99)
        }
        #expect(sameBits(t.array, theta))
        #expect(sameBits(first.array, m))
        #expect(sameBits(second.array, v))
    }

    @Test(arguments: KernelCase.sizes, [Float(0), 1e-3, 1, 1e4, 1e9])
    func anchorStepIsTheImplicitStepOfThePenalty(n: Int, strength: Float) {
        let theta = KernelCase.numbers(n, 40)
        let anchor = KernelCase.numbers(n, 41)
        let fisher = KernelCase.numbers(n, 42).map { abs($0) }
        let t = Floats(theta)
        lend(t, Floats(anchor), Floats(fisher)) { Kernels.anchorStep($0, anchor: $1, fisher: $2, strength: strength) }
        for (i, got) in t.array.enumerated() {
            let pull = Double(strength) * Double(fisher[i])
            let exact = (Double(theta[i]) + pull * Double(anchor[i])) / (1 + pull)
            // Three roundings of the correction, at most |anchor − θ|, and one of the sum.
            #expect(abs(Double(got) - exact) <= 4 * 0x1p-24 * Double(abs(theta[i]) + abs(anchor[i])))
        }
        if strength == 0 { #expect(sameBits(t.array, theta)) }
    }

    @Test func momentsBelowTheLeastNormalNumberBecomeZero() {
        let tiny = Float.leastNormalMagnitude
        let v = Floats([tiny, -tiny, tiny * 4])
        lend(Floats(count: 3), v, Floats(count: 3)) {
            Kernels.momentumStep(
                $0, velocity: $1, gradient: $2, rate: 1, momentum: 0.5, dampening: 0, nesterov: false, first: false)
        }
        #expect(v.array == [0, 0, tiny * 2])
        let (first, second) = (Floats([tiny, tiny]), Floats([tiny, tiny]))
        lend(Floats(count: 2), first, second, Floats(count: 2)) {
            Kernels.adamStep(
                $0, first: $1, second: $2, gradient: $3,
                AdamScalars(beta1: 0.5, beta2: 0.5, epsilon: 1e-8, step: 1, inverseRootCorrection: 1, keep: 1))
        }
        #expect(first.array == [0, 0] && second.array == [0, 0])
        let sum = Floats([0])
        lend(Floats([1]), sum, Floats([1e-20])) { Kernels.adaGradStep($0, sum: $1, gradient: $2, rate: 1, epsilon: 1) }
        #expect(sum.array == [0])
    }
}
