import TensorCore
import Testing

/// The same bits from every instruction set. Other tests run meanwhile in the same process: what is selected here is theirs
/// too, and must make no difference.
@Suite(.serialized)
struct InstructionSetTests {
    @Test func everyKernelGivesTheSameBitsOnEveryInstructionSet() {
        let best = Kernels.select(.avx512)
        defer { _ = Kernels.select(best) }
        var sets: [Kernels.InstructionSet: [(name: String, bits: UInt64)]] = [:]
        for wanted in Kernels.InstructionSet.allCases {
            let selected = Kernels.select(wanted)
            sets[selected] = Self.results()
        }
        guard let portable = sets[.portable] else {
            Issue.record("the portable kernels cannot be selected")
            return
        }
        for (set, results) in sets {
            for (a, b) in zip(portable, results) where a != b {
                Issue.record("\(b.name): \(set.rawValue) differs from portable (seed \(KernelCase.seed))")
            }
        }
    }

    @Test func theBestInstructionSetOfTheMachineIsSelected() {
        let best = Kernels.select(.avx512)
        for wanted in Kernels.InstructionSet.allCases {
            let selected = Kernels.select(wanted)
            #expect(selected == wanted || selected == best, "never one above what was asked for")
        }
        #expect(Kernels.select(best) == best)
    }

    private static func signs(_ count: Int) -> [Float] {
        var generator = PhiloxGenerator(seed: 56)
        return (0..<count).map { _ in generator.next() & 1 == 0 ? 1 : -1 }
    }

    @Test(arguments: KernelCase.sizes) func foldsInOrder(count: Int) {
        let (x, signs) = (KernelCase.numbers(count, 57), Self.signs(count))
        var expected = KernelCase.numbers(64, 58)
        let folded = Floats(expected)
        for i in 0..<count { expected[i % 64] += signs[i] < 0 ? -x[i] : x[i] }
        lend(Floats(x), Floats(signs), folded) { Kernels.foldSigns($0, $1, into: $2) }
        #expect(folded.array == expected)
    }

    /// The bits of every kernel's results over sizes and rows, on ordinary numbers and on hard ones.
    static func results() -> [(name: String, bits: UInt64)] {
        var all: [(name: String, bits: UInt64)] = []
        func record(_ name: String, _ values: [Float]) {
            var hash = StableHash()
            // NaN payloads are no part of the claim: they never enter state.
            for value in values { hash.combine(UInt64(value.isNaN ? Float.nan.bitPattern : value.bitPattern)) }
            all.append((name, hash.finalized()))
        }
        for (kind, make) in [("ordinary", { KernelCase.numbers($0, $1) }), ("hard", { KernelCase.hard($0, $1) })] {
            for n in KernelCase.sizes {
                for rows in KernelCase.rows {
                    let what = "\(kind) [\(rows), \(n)]"
                    let (m, c, x) = (make(rows * n, 50), make(rows, 51), make(n, 52))
                    let out = Floats(count: rows)
                    lend(Floats(m), Floats(x), out) { Kernels.rowDots($0, $1, into: $2) }
                    record("row_dots \(what)", out.array)
                    let y = Floats(make(n, 53))
                    lend(Floats(m), Floats(c), y) { Kernels.addRows($0, $1, to: $2) }
                    record("add_rows \(what)", y.array)
                    let one = Floats(m)
                    lend(one, Floats(c), Floats(x)) { Kernels.rankOne($0, $1, $2) }
                    record("rank_one \(what)", one.array)
                    lend(one, Floats(c), Floats(x)) { Kernels.addSquaredOuter($0, $1, $2, weight: 0.37) }
                    record("add_squared_outer \(what)", one.array)
                    if [1, 4, 8, 9].contains(rows), [1, 17, 64, 384].contains(n) {
                        for (name, values) in AdapterKernelCase(rank: rows, dimension: n, make).results() {
                            record("\(name) \(what)", values)
                        }
                        for count in [3, 6] {
                            let batch = TargetBatchCase(rank: rows, dimension: n, count: count, hasBias: true, make)
                            for (name, values) in batch.results() { record("\(name) of \(count), \(what)", values) }
                        }
                    }
                }
                elementwise("\(kind) \(n)", n, make, record)
                let folded = Floats(make(64, 54))
                lend(Floats(make(n, 55)), Floats(signs(n)), folded) { Kernels.foldSigns($0, $1, into: $2) }
                record("fold_signs \(kind) \(n)", folded.array)
            }
        }
        for (rank, kind) in [4, 8, 16].flatMap({ rank in PreconditioningCase.Kind.allCases.map { (rank, $0) } }) {
            for c in PreconditioningCase.all(rank, kind) {
                let (solutions, squared) = c.solve() ?? ([], [])
                record("precondition \(c.description)", solutions + squared.map { Float($0) })
            }
        }
        return all
    }

    private static func elementwise(
        _ what: String, _ n: Int, _ make: (Int, Int) -> [Float], _ record: (String, [Float]) -> Void
    ) {
        let (theta, g, third) = (Floats(make(n, 54)), Floats(make(n, 55)), make(n, 56))
        if n > 0 {
            // Ties between zeros of both signs are the one thing that a maximum may leave open.
            record("max \(what)", [theta.lend { Kernels.maximum($0) } + 0])
        }
        record("all_finite \(what)", [theta.lend { Kernels.allFinite($0) } ? 1 : 0])
        record("largest_magnitude \(what)", [theta.lend { Kernels.largestMagnitude($0) }])
        record("squared_distance \(what)", [lend(theta, g) { Kernels.squaredDistance($0, $1) }])
        let v = Floats(third)
        let top = third.max() ?? 0
        let sum = v.lend { Kernels.expSum($0, shift: top, inverseTemperature: 3) }
        record("exp_sum \(what)", v.array + [sum])
        let moment = Floats(third)
        for (nesterov, first) in [(false, true), (false, false), (true, false)] {
            lend(theta, moment, g) {
                Kernels.momentumStep(
                    $0, velocity: $1, gradient: $2, rate: 0.013, momentum: 0.9, dampening: nesterov ? 0 : 0.1,
                    nesterov: nesterov, first: first)
            }
        }
        record("momentum_step \(what)", theta.array + moment.array)
        let positive = Floats(third.map { abs($0) })
        lend(theta, positive, g) { Kernels.adaGradStep($0, sum: $1, gradient: $2, rate: 0.013, epsilon: 1e-10) }
        record("adagrad_step \(what)", theta.array + positive.array)
        lend(theta, moment, positive, g) {
            Kernels.adamStep(
                $0, first: $1, second: $2, gradient: $3,
                AdamScalars(
                    beta1: 0.9, beta2: 0.999, epsilon: 1e-8, step: 0.013, inverseRootCorrection: 3.3, keep: 0.998))
        }
        record("adam_step \(what)", theta.array + moment.array + positive.array)
        lend(theta, g, positive) { Kernels.anchorStep($0, anchor: $1, fisher: $2, strength: 0.7) }
        record("anchor_step \(what)", theta.array)
        lend(theta, g) { Kernels.blend($0, 0.7, $1, 0.3) }
        record("blend \(what)", theta.array)
        lend(theta, g) { Kernels.exchange($0, with: $1, times: 0.7) }
        record("exchange \(what)", theta.array + g.array)
        theta.lend { Kernels.clamp($0, limit: 0.01) }
        record("clamp \(what)", theta.array)
    }
}
