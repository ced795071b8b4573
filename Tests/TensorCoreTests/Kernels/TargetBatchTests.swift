import TensorCore
import TestSupport
import Testing

/// The kernels that take a batch of targets, on numbers of one case, and the same from plain loops and from one sample at a time.
struct TargetBatchCase {
    let rank: Int
    let dimension: Int
    let count: Int
    let hasBias: Bool
    private let parameters: [Float]
    private let xs: [Float]
    private let targets: [Float]
    private let weights: [Float]
    private let scale: Float = 0.75
    private let factor: Float = 0.13

    init(rank: Int, dimension: Int, count: Int, hasBias: Bool, _ make: (Int, Int) -> [Float]) {
        self.rank = rank
        self.dimension = dimension
        self.count = count
        self.hasBias = hasBias
        parameters = make((2 * rank + (hasBias ? 1 : 0)) * dimension, 90)
        xs = make(count * dimension, 91)
        targets = make(count * dimension, 92)
        weights = make(count, 93)
    }

    /// What comes of a batch, by name.
    typealias Results = [(name: String, values: [Float])]

    private func sample(_ all: [Float], _ s: Int) -> [Float] { Array(all[(s * dimension)..<((s + 1) * dimension)]) }

    // MARK: - The kernels

    func results() -> Results {
        let errors = Floats(count: count * dimension, offset: 3)
        let (scaled, back) = (Floats(count: count * rank), Floats(count: count * rank))
        let (residuals, alone) = (Floats(count: count), Floats(count: count))
        let gradient = Floats([Float](repeating: .nan, count: parameters.count))
        var norms: [Float] = []
        withMap { map in
            lend(Floats(xs, offset: 1), Floats(targets, offset: 5), Floats(weights), gradient) {
                xs, targets, weights, gradient in
                lend(errors, scaled, back, residuals) { errors, scaled, back, residuals in
                    RowList.with(xs, dimension: dimension) { xs in
                        RowList.with(targets, dimension: dimension) { targets in
                            let batch = TargetBatch(
                                xs: xs, targets: targets, weights: weights, errors: errors, scaled: scaled,
                                back: back, residuals: residuals)
                            lend(Floats(count: rank), Floats(count: rank), Floats(count: rank)) {
                                let squared = Kernels.targetGradients(
                                    map, batch, factor: factor, gradient: gradient, hidden: $0, scaled: $1, back: $2)
                                norms = [squared.down, squared.up, squared.bias]
                            }
                        }
                    }
                }
                RowList.with(xs, dimension: dimension) { xs in
                    RowList.with(targets, dimension: dimension) { targets in
                        lend(Floats(errors.array), Floats(scaled.array), Floats(back.array), alone) {
                            let batch = TargetBatch(
                                xs: xs, targets: targets, weights: weights, errors: $0, scaled: $1, back: $2,
                                residuals: $3)
                            lend(Floats(count: rank), Floats(count: dimension)) {
                                Kernels.targetResiduals(map, batch, hidden: $0, output: $1)
                            }
                        }
                    }
                }
            }
        }
        return [
            ("errors", errors.array), ("scaled", scaled.array), ("back", back.array), ("residuals", residuals.array),
            ("gradient", gradient.array), ("norms", norms), ("residuals alone", alone.array),
        ]
    }

    private func withMap(_ body: (AdapterMap) -> Void) {
        Floats(parameters, offset: 1).lend {
            body(AdapterMap($0, rank: rank, dimension: dimension, hasBias: hasBias, scale: scale))
        }
    }

    /// The same with a call for each sample.
    func oneByOne() -> Results {
        var (errors, scaled, back, residuals): ([Float], [Float], [Float], [Float]) = ([], [], [], [])
        withMap { map in
            for s in 0..<count {
                let parts = (Floats(count: rank), Floats(count: rank), Floats(count: rank), Floats(count: dimension))
                lend(parts.0, parts.1, parts.2, parts.3) {
                    var gradient = AdapterGradient(hidden: $0, scaled: $1, back: $2, error: $3, output: nil)
                    lend(Floats(sample(xs, s)), Floats(sample(targets, s))) {
                        Kernels.targetGradient(map, $0, target: $1, factor: factor, into: &gradient)
                    }
                    residuals.append(gradient.squaredResidual)
                }
                scaled += parts.1.array.map { weights[s] * $0 }
                back += parts.2.array.map { weights[s] * $0 }
                errors += parts.3.array
            }
        }
        return completed(errors, scaled, back, residuals)
    }

    // MARK: - Plain loops

    func expected() -> Results {
        var (errors, scaled, back, residuals): ([Float], [Float], [Float], [Float]) = ([], [], [], [])
        func row(_ k: Int) -> ArraySlice<Float> { parameters[(k * dimension)..<((k + 1) * dimension)] }
        for s in 0..<count {
            var y = sample(xs, s)
            let coefficients = (0..<rank).map { scale * KernelTests.lanedDot(row($0), sample(xs, s)) }
            for k in 0..<rank {
                for (j, value) in row(rank + k).enumerated() { y[j].addProduct(coefficients[k], value) }
            }
            if hasBias { for (j, value) in row(2 * rank).enumerated() { y[j] += value } }
            let residual = zip(y, sample(targets, s)).map { $0 - $1 }
            let error = residual.map { factor * $0 }
            scaled += coefficients.map { weights[s] * $0 }
            back += (0..<rank).map { weights[s] * (scale * KernelTests.lanedDot(row(rank + $0), error)) }
            residuals.append(KernelTests.lanedDot(residual[...], residual))
            errors += error
        }
        return completed(errors, scaled, back, residuals)
    }

    /// The sums over the samples, in plain loops.
    private func completed(_ errors: [Float], _ scaled: [Float], _ back: [Float], _ residuals: [Float]) -> Results {
        var gradient: [Float] = []
        var norms: [Float] = []
        for (u, rows, v) in [(back, rank, xs), (scaled, rank, errors), (weights, hasBias ? 1 : 0, errors)] {
            var norm: Float = 0
            for k in 0..<rows {
                var sum = [Float](repeating: 0, count: dimension)
                for s in 0..<count {
                    for (j, value) in sample(v, s).enumerated() { sum[j].addProduct(u[s * rows + k], value) }
                }
                norm += KernelTests.lanedDot(sum[...], sum)
                gradient += sum
            }
            norms.append(norm)
        }
        return [
            ("errors", errors), ("scaled", scaled), ("back", back), ("residuals", residuals), ("gradient", gradient),
            ("norms", norms), ("residuals alone", residuals),
        ]
    }
}

struct TargetBatchTests {
    /// Counts around the samples taken at once, ranks around the blocks of rows, dimensions around the vectors of columns.
    static let shapes: [(rank: Int, dimension: Int)] = [
        (1, 1), (3, 17), (4, 64), (5, 33), (8, 16), (8, 100), (9, 63), (16, 130), (21, 80),
    ]

    @Test(arguments: underSanitizer([1, 3, 4, 8, 9], otherwise: Array(1...9) + [32, 33, 64]))
    func aBatchIsWhatItsSamplesAreAlone(count: Int) {
        for (rank, dimension) in Self.shapes {
            for hasBias in [false, true] {
                let test = TargetBatchCase(rank: rank, dimension: dimension, count: count, hasBias: hasBias) {
                    KernelCase.numbers($0, $1)
                }
                let (results, expected, single) = (test.results(), test.expected(), test.oneByOne())
                #expect(results.map(\.name) == expected.map(\.name))
                let what = "\(count) samples, [\(rank), \(dimension)], bias \(hasBias), seed \(KernelCase.seed)"
                for ((got, wanted), alone) in zip(zip(results, expected), single) {
                    #expect(sameBits(got.values, wanted.values), "\(got.name): \(what)")
                    #expect(sameBits(got.values, alone.values), "\(got.name), one by one: \(what)")
                }
            }
        }
    }

    @Test(arguments: [Float.nan, .infinity, -.infinity], [2, 5, 8])
    func whatIsNotFiniteShowsInItsSampleAlone(value: Float, count: Int) {
        for broken in 0..<count {
            for stream in [90, 91, 92] {
                let test = TargetBatchCase(rank: 4, dimension: 70, count: count, hasBias: false) {
                    var numbers = KernelCase.numbers($0, $1)
                    if $1 == stream { numbers[stream == 90 ? 3 : broken * 70 + 69] = value }
                    return numbers
                }
                for (name, values) in test.results() where name.hasPrefix("residuals") {
                    for (s, residual) in values.enumerated() {
                        #expect(residual.isFinite == (stream != 90 && s != broken), "\(name), sample \(s)")
                    }
                }
            }
        }
    }

    @Test(arguments: [0, 1, 16, 33, 400]) func anExchangeStepsAndKeepsWhatWas(count: Int) {
        let (before, gradient) = (KernelCase.numbers(count, 94), KernelCase.numbers(count, 95))
        let (parameters, exchanged) = (Floats(before, offset: 1), Floats(gradient))
        lend(parameters, exchanged) { Kernels.exchange($0, with: $1, times: -0.3) }
        #expect(sameBits(parameters.array, zip(before, gradient).map { $0.addingProduct(-0.3, $1) }))
        #expect(sameBits(exchanged.array, before))
    }
}
