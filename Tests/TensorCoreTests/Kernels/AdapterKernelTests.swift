import TensorCore
import Testing

/// The kernels that work on a whole adapter, on numbers of one case, and the same from plain loops that round and fuse as
/// `ckernels.h` states.
struct AdapterKernelCase {
    let rank: Int
    let dimension: Int
    private let parameters: [Float]
    private let x: [Float]
    private let target: [Float]
    private let a: [Float]
    private let c: [Float]
    private let next: [Float]
    private let samples: [[Float]]
    private let weights: [Float]
    private let state: [[Float]]
    private let scale: Float = 0.75
    private let factor: Float = 0.13

    init(rank: Int, dimension: Int, _ make: (Int, Int) -> [Float]) {
        self.rank = rank
        self.dimension = dimension
        parameters = make((2 * rank + 1) * dimension, 60)
        x = make(dimension, 61)
        target = make(dimension, 62)
        a = make(rank, 63)
        c = make(rank, 64)
        next = make(rank, 65)
        samples = (0..<3).map { make(dimension, 66 + $0) }
        weights = make(3 * rank, 69)
        state = (0..<3).map { make(rank * dimension, 70 + $0).map { abs($0) } }
    }

    private var down: ArraySlice<Float> { parameters[..<(rank * dimension)] }
    private var up: ArraySlice<Float> { parameters[(rank * dimension)..<(2 * rank * dimension)] }
    private var bias: ArraySlice<Float> { parameters[(2 * rank * dimension)...] }
    private func row(_ matrix: ArraySlice<Float>, _ k: Int) -> ArraySlice<Float> {
        let first = matrix.startIndex + k * dimension
        return matrix[first..<(first + dimension)]
    }

    // MARK: - The kernels

    func results() -> [(name: String, values: [Float])] {
        var all: [(name: String, values: [Float])] = []
        for hasBias in [false, true] {
            all += map(hasBias)
            for keep in [Float(1), 0.9] {
                for looksAhead in [false, true] {
                    let name = "step, bias \(hasBias), keep \(keep), looks ahead \(looksAhead)"
                    all.append((name, step(hasBias, keep, looksAhead)))
                }
            }
        }
        all.append(("adam_rank_one", adam()))
        all.append(("protected_rank_one", protected()))
        for adds in [false, true] { all.append(("outer_sum, adds \(adds)", outerSum(adds))) }
        let gram = Floats(count: rank * rank)
        lend(Floats(Array(down)), gram) { Kernels.gram($0, columns: dimension, into: $1) }
        all.append(("gram", gram.array))
        let norm = Floats(Array(down)).lend { Kernels.squaredNorm($0, columns: dimension) }
        all.append(("matrix_squared_norm", [norm]))
        return all
    }

    private func withMap<R>(_ hasBias: Bool, _ parameters: Floats, _ body: (AdapterMap) -> R) -> R {
        parameters.lend { all in
            let used = hasBias ? all : all.slice(0..<(2 * rank * dimension))
            return body(AdapterMap(used, rank: rank, dimension: dimension, hasBias: hasBias, scale: scale))
        }
    }

    private func map(_ hasBias: Bool) -> [(name: String, values: [Float])] {
        let (hidden, scaled, y) = (Floats(count: rank), Floats(count: rank), Floats(count: dimension))
        let (mapped, back, error) = (Floats(count: dimension), Floats(count: rank), Floats(count: dimension))
        var all: [(name: String, values: [Float])] = []
        withMap(hasBias, Floats(parameters, offset: 1)) { map in
            lend(Floats(x), hidden, scaled, y) { x, hidden, scaled, y in
                let isFinite = Kernels.forward(map, x, hidden: hidden, scaled: scaled, output: y)
                all.append(("forward", hidden.array + scaled.array + y.array + [isFinite ? 1 : 0]))
                lend(Floats(next), mapped) { Kernels.mapUp(map, $0, x, output: $1) }
                all.append(("map_up", mapped.array))
                for wantsOutput in [false, true] {
                    lend(Floats(target), back, error) { target, back, error in
                        var gradient = AdapterGradient(
                            hidden: hidden, scaled: scaled, back: back, error: error, output: wantsOutput ? y : nil)
                        Kernels.targetGradient(map, x, target: target, factor: factor, into: &gradient)
                        let sums = [
                            gradient.squaredInput, gradient.squaredResidual, gradient.squaredScaled,
                            gradient.squaredBack,
                        ]
                        all.append(
                            ("target_gradient", hidden.array + scaled.array + back.array + error.array + y.array + sums)
                        )
                        back.fill(.nan)
                        Kernels.pullBack(map, x, &gradient)
                        all.append(("pull_back", back.array + [gradient.squaredBack]))
                    }
                }
            }
        }
        return all.map { ("\($0.name), bias \(hasBias)", $0.values) }
    }

    private func step(_ hasBias: Bool, _ keep: Float, _ looksAhead: Bool) -> [Float] {
        let (changed, after) = (Floats(parameters), Floats(count: dimension))
        _ = withMap(hasBias, changed) { map in
            lend(Floats(x), Floats(target), Floats(a), Floats(c)) { x, error, a, c in
                lend(Floats(next), after) { next, after in
                    Kernels.step(
                        map, x, error: error, down: a, up: c, biasRate: -0.3, keep: keep,
                        after: looksAhead ? (next, after) : nil)
                }
            }
        }
        return changed.array + after.array
    }

    private func adam() -> [Float] {
        let (theta, first, second) = (Floats(Array(down)), Floats(state[0]), Floats(state[1]))
        lend(theta, first, second) { theta, first, second in
            lend(Floats(c), Floats(x)) {
                Kernels.adamRankOne(
                    theta, first: first, second: second, $0, $1,
                    AdamScalars(
                        beta1: 0.9, beta2: 0.99, epsilon: 1e-6, step: 0.01, inverseRootCorrection: 1.5, keep: 0.99))
            }
        }
        return theta.array + first.array + second.array
    }

    private func protected() -> [Float] {
        let (theta, next) = (Floats(Array(down)), Floats(state[2]))
        lend(theta, Floats(state[0]), Floats(state[1]), next) { theta, anchor, fisher, next in
            lend(Floats(c), Floats(a), Floats(x)) {
                Kernels.protectedRankOne(
                    theta, anchor: anchor, fisher: fisher, next: next, $0, $1, $2, strength: 0.4, decay: 0.9)
            }
        }
        return theta.array + next.array
    }

    private func outerSum(_ adds: Bool) -> [Float] {
        let fromArrays = Floats(Array(up))
        let fromMatrix = Floats(Array(up))
        lend(Floats(weights), fromArrays, fromMatrix) { u, fromArrays, fromMatrix in
            lend(Floats(samples[0]), Floats(samples[1]), Floats(samples[2])) { first, second, third in
                RowList.with(dimension: dimension) { rows in
                    for row in [first, second, third] { rows.append(row) }
                    Kernels.outerSum(fromArrays, u, rows, adds: adds)
                }
            }
            Floats(samples.flatMap { $0 }).lend {
                RowList.with($0, dimension: dimension) { Kernels.outerSum(fromMatrix, u, $0, adds: adds) }
            }
        }
        return fromArrays.array + fromMatrix.array
    }

    // MARK: - The same from plain loops

    func expected() -> [(name: String, values: [Float])] {
        var all: [(name: String, values: [Float])] = []
        for hasBias in [false, true] {
            all += expectedMap(hasBias).map { ("\($0.name), bias \(hasBias)", $0.values) }
            for keep in [Float(1), 0.9] {
                for looksAhead in [false, true] {
                    let name = "step, bias \(hasBias), keep \(keep), looks ahead \(looksAhead)"
                    all.append((name, expectedStep(hasBias, keep, looksAhead)))
                }
            }
        }
        all.append(("adam_rank_one", expectedAdam()))
        all.append(("protected_rank_one", expectedProtected()))
        for adds in [false, true] {
            let sum = expectedOuterSum(adds)
            all.append(("outer_sum, adds \(adds)", sum + sum))
        }
        let rows = (0..<rank).map { Array(row(down, $0)) }
        all.append(("gram", rows.flatMap { a in rows.map { KernelTests.lanedDot(a[...], $0) } }))
        let norms = rows.map { KernelTests.lanedDot($0[...], $0) }
        all.append(("matrix_squared_norm", [norms.reduce(0, +)]))
        return all
    }

    private func mapped(_ c: [Float], _ up: ArraySlice<Float>, _ bias: ArraySlice<Float>, _ hasBias: Bool) -> [Float] {
        var y = x
        for k in 0..<rank { for (j, value) in row(up, k).enumerated() { y[j].addProduct(c[k], value) } }
        if hasBias { for (j, value) in bias.enumerated() { y[j] += value } }
        return y
    }

    private func expectedMap(_ hasBias: Bool) -> [(name: String, values: [Float])] {
        let hidden = (0..<rank).map { KernelTests.lanedDot(row(down, $0), x) }
        let scaled = hidden.map { scale * $0 }
        let y = mapped(scaled, up, bias, hasBias)
        let residual = zip(y, target).map { $0 - $1 }
        let error = residual.map { factor * $0 }
        let back = (0..<rank).map { scale * KernelTests.lanedDot(row(up, $0), error) }
        func squared(_ v: [Float]) -> Float { KernelTests.lanedDot(v[...], v) }
        let sums = [squared(x), squared(residual), squared(scaled), squared(back)]
        let gradient = hidden + scaled + back + error + y + sums
        let pulled = back + [squared(back)]
        return [
            ("forward", hidden + scaled + y + [1]), ("map_up", mapped(next, up, bias, hasBias)),
            ("target_gradient", gradient), ("pull_back", pulled), ("target_gradient", gradient), ("pull_back", pulled),
        ]
    }

    private func expectedStep(_ hasBias: Bool, _ keep: Float, _ looksAhead: Bool) -> [Float] {
        var new = parameters
        let (down, up) = (0, rank * dimension)
        for k in 0..<rank {
            for j in 0..<dimension {
                new[down + k * dimension + j].addProduct(a[k], x[j])
                new[up + k * dimension + j].addProduct(c[k], target[j])
                new[up + k * dimension + j] *= keep
            }
        }
        if hasBias {
            for j in 0..<dimension {
                new[2 * up + j].addProduct(-0.3, target[j])
                new[2 * up + j] *= keep
            }
        }
        let after =
            looksAhead
            ? mapped(next, new[up..<(2 * up)], new[(2 * up)...], hasBias) : [Float](repeating: 0, count: dimension)
        return new + after
    }

    private func expectedAdam() -> [Float] {
        var (theta, first, second) = (Array(down), state[0], state[1])
        let (beta1, beta2): (Float, Float) = (0.9, 0.99)
        for k in 0..<rank {
            for j in 0..<dimension {
                let (i, g) = (k * dimension + j, c[k] * x[j])
                first[i] = ((1 - beta1) * g).addingProduct(beta1, first[i])
                second[i] = ((1 - beta2) * (g * g)).addingProduct(beta2, second[i])
                let root = Float(1e-6).addingProduct(second[i].squareRoot(), 1.5)
                theta[i] = (-(0.01 * first[i] / root)).addingProduct(theta[i], 0.99)
            }
        }
        return theta + first + second
    }

    private func expectedProtected() -> [Float] {
        var (theta, next) = (Array(down), state[2])
        let decay: Float = 0.9
        for k in 0..<rank {
            for j in 0..<dimension {
                let (i, g) = (k * dimension + j, a[k] * x[j])
                theta[i].addProduct(c[k], x[j])
                let pull = 0.4 * state[1][i]
                theta[i].addProduct(pull / (1 + pull), state[0][i] - theta[i])
                next[i] = ((1 - decay) * (g * g)).addingProduct(decay, next[i])
            }
        }
        return theta + next
    }

    private func expectedOuterSum(_ adds: Bool) -> [Float] {
        var sum = adds ? Array(up) : [Float](repeating: 0, count: rank * dimension)
        for (s, sample) in samples.enumerated() {
            for k in 0..<rank {
                for j in 0..<dimension { sum[k * dimension + j].addProduct(weights[s * rank + k], sample[j]) }
            }
        }
        return sum
    }
}

struct AdapterKernelTests {
    /// Ranks around the blocks of rows; dimensions around the lanes and the tile.
    @Test(arguments: [1, 3, 4, 8, 9, 16, 21], [1, 16, 33, 64, 530])
    func everyKernelDoesWhatPlainLoopsDo(rank: Int, dimension: Int) {
        let test = AdapterKernelCase(rank: rank, dimension: dimension) { KernelCase.numbers($0, $1) }
        let (results, expected) = (test.results(), test.expected())
        #expect(results.map(\.name) == expected.map(\.name))
        for (got, wanted) in zip(results, expected) {
            #expect(
                sameBits(got.values, wanted.values),
                "\(got.name) [\(rank), \(dimension)], seed \(KernelCase.seed)")
        }
    }

    @Test(arguments: [Float.nan, .infinity, -.infinity], [3, 16, 100])
    func whatIsNotFiniteShows(value: Float, dimension: Int) {
        let parameters = Floats(KernelCase.numbers(8 * dimension, 80))
        for place in [0, dimension / 2, dimension - 1] {
            var x = KernelCase.numbers(dimension, 81)
            let target = KernelCase.numbers(dimension, 82)
            var broken = target
            broken[place] = value
            let (hidden, back) = (Floats(count: 4), Floats(count: 4))
            let (error, y) = (Floats(count: dimension), Floats(count: dimension))
            parameters.lend { all in
                let map = AdapterMap(all, rank: 4, dimension: dimension, hasBias: false, scale: 1)
                lend(hidden, back, error, y) { hidden, back, error, y in
                    var gradient = AdapterGradient(
                        hidden: hidden, scaled: hidden, back: back, error: error, output: nil)
                    lend(Floats(x), Floats(broken)) {
                        Kernels.targetGradient(map, $0, target: $1, factor: 1, into: &gradient)
                    }
                    #expect(!gradient.squaredResidual.isFinite)
                    x[place] = value
                    lend(Floats(x), Floats(target)) { x, target in
                        #expect(!Kernels.forward(map, x, hidden: hidden, scaled: hidden, output: y))
                        Kernels.targetGradient(map, x, target: target, factor: 1, into: &gradient)
                        #expect(!gradient.squaredInput.isFinite || !gradient.squaredResidual.isFinite)
                        #expect(!Kernels.allFinite(x))
                        #expect(!Kernels.largestMagnitude(x).isFinite)
                    }
                }
            }
        }
    }

    @Test func theLargestMagnitudeAndDistancesAreThose() {
        let (a, b) = (KernelCase.numbers(77, 83), KernelCase.numbers(77, 84))
        #expect(Floats(a).lend { Kernels.largestMagnitude($0) } == a.map { abs($0) }.max())
        #expect(Floats(count: 0).lend { Kernels.largestMagnitude($0) } == 0)
        let difference = zip(a, b).map { $0 - $1 }
        #expect(
            lend(Floats(a), Floats(b)) { Kernels.squaredDistance($0, $1) }
                == KernelTests.lanedDot(difference[...], difference))
    }
}
