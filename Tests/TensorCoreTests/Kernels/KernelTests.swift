import TensorCore
import Testing

/// Each kernel against the arithmetic that its header states, written as plain loops: to the bit where the header fixes
/// every rounding, and within a stated bound of a Float64 loop where an independent value is the better judge.
struct KernelTests {
    /// Σ aᵢ·bᵢ as ckernels.h states it: 16 lanes, fused, then added pairwise.
    static func lanedDot(_ a: ArraySlice<Float>, _ b: [Float]) -> Float {
        var lanes = [Float](repeating: 0, count: 16)
        for (i, (x, y)) in zip(a, b).enumerated() { lanes[i % 16].addProduct(x, y) }
        for width in [8, 4, 2, 1] { for i in 0..<width { lanes[i] += lanes[i + width] } }
        return lanes[0]
    }

    @Test(arguments: KernelCase.sizes)
    func dotIsWithinRoundingOfTheExactSum(n: Int) {
        let a = KernelCase.numbers(n, 1)
        let b = KernelCase.numbers(n, 2)
        let got = lend(Floats(a), Floats(b, offset: 1)) { Kernels.dot($0, $1) }
        let exact = zip(a, b).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
        let size = zip(a, b).reduce(0.0) { $0 + abs(Double($1.0) * Double($1.1)) }
        // One rounding for each of a lane's elements and four for adding lanes, half an ulp each.
        let bound = Double((n + 15) / 16 + 4) * 0x1p-24 * size
        #expect(abs(Double(got) - exact) <= bound, "n \(n), seed \(KernelCase.seed)")
        #expect(got.bitPattern == Self.lanedDot(a[...], b).bitPattern)
        #expect(Floats(a).lend { Kernels.squaredNorm($0) }.bitPattern == Self.lanedDot(a[...], a).bitPattern)
    }

    @Test(arguments: KernelCase.sizes, KernelCase.rows)
    func rowDotsAreTheDotsOfTheRowsHoweverManyArePassed(n: Int, rows: Int) {
        let m = KernelCase.numbers(rows * n, 3)
        let x = KernelCase.numbers(n, 4)
        let out = Floats([Float](repeating: .nan, count: rows))
        lend(Floats(m, offset: 3), Floats(x), out) { Kernels.rowDots($0, $1, into: $2) }
        let expected = (0..<rows).map { Self.lanedDot(m[($0 * n)..<(($0 + 1) * n)], x) }
        #expect(sameBits(out.array, expected))
    }

    @Test(arguments: KernelCase.sizes, KernelCase.rows)
    func addRowsFusesRowAfterRow(n: Int, rows: Int) {
        let m = KernelCase.numbers(rows * n, 5)
        let c = KernelCase.numbers(rows, 6)
        let y = KernelCase.numbers(n, 7)
        let got = Floats(y, offset: 1)
        lend(Floats(m), Floats(c), got) { Kernels.addRows($0, $1, to: $2) }
        var expected = y
        for k in 0..<rows { for j in 0..<n { expected[j].addProduct(c[k], m[k * n + j]) } }
        #expect(sameBits(got.array, expected))
        for j in 0..<n {
            let terms = [Double(y[j])] + (0..<rows).map { Double(c[$0]) * Double(m[$0 * n + j]) }
            let bound = Double(rows) * 0x1p-24 * terms.reduce(0) { $0 + abs($1) }
            #expect(abs(Double(got.array[j]) - terms.reduce(0, +)) <= bound)
        }
        // Row after row in separate calls: the same.
        let single = Floats(y)
        for k in 0..<rows {
            lend(Floats(Array(m[(k * n)..<((k + 1) * n)])), Floats([c[k]]), single) { Kernels.addRows($0, $1, to: $2) }
        }
        #expect(sameBits(single.array, expected))
    }

    @Test(arguments: KernelCase.sizes, KernelCase.rows)
    func rankOneFusesEveryElement(n: Int, rows: Int) {
        let m = KernelCase.numbers(rows * n, 8)
        let c = KernelCase.numbers(rows, 9)
        let x = KernelCase.numbers(n, 10)
        let got = Floats(m, offset: 2)
        lend(got, Floats(c), Floats(x)) { Kernels.rankOne($0, $1, $2) }
        var expected = m
        for k in 0..<rows { for j in 0..<n { expected[k * n + j].addProduct(c[k], x[j]) } }
        #expect(sameBits(got.array, expected))
        let squares = Floats(m)
        lend(squares, Floats(c), Floats(x)) { Kernels.addSquaredOuter($0, $1, $2, weight: 0.3) }
        for k in 0..<rows {
            for j in 0..<n {
                let g = c[k] * x[j]
                expected[k * n + j] = m[k * n + j] + Float(0.3) * (g * g)
            }
        }
        #expect(sameBits(squares.array, expected))
    }

    @Test(arguments: KernelCase.sizes)
    func elementwiseKernelsRoundEachOperation(n: Int) {
        let x = KernelCase.numbers(n, 11)
        let y = KernelCase.numbers(n, 12)
        let blended = Floats(y)
        lend(blended, Floats(x)) { Kernels.blend($0, 0.7, $1, -1.3) }
        #expect(sameBits(blended.array, zip(y, x).map { Float(0.7) * $0 + Float(-1.3) * $1 }))
        let added = Floats(y)
        lend(Floats(x), added) { Kernels.axpy(-0.9, $0, to: $1) }
        #expect(sameBits(added.array, zip(y, x).map { $0.addingProduct(-0.9, $1) }))
        let scaled = Floats(y)
        scaled.lend { Kernels.scale($0, by: 1.7) }
        #expect(scaled.array == y.map { 1.7 * $0 })
        let clamped = Floats(y)
        clamped.lend { Kernels.clamp($0, limit: 0.5) }
        #expect(sameBits(clamped.array, y.map { max(-0.5, min(0.5, $0)) }))
    }

    @Test(arguments: KernelCase.sizes.filter { $0 > 0 })
    func maximumIsFoundAtEveryPosition(n: Int) {
        let values = KernelCase.numbers(n, 13)
        #expect(Floats(values).lend { Kernels.maximum($0) } == values.max())
        for i in 0..<n {
            var one = [Float](repeating: -.infinity, count: n)
            one[i] = -3
            #expect(Floats(one).lend { Kernels.maximum($0) } == -3, "n \(n), position \(i)")
        }
    }

    @Test(arguments: KernelCase.sizes)
    func aNonFiniteNumberIsFoundAtEveryPosition(n: Int) {
        var values = KernelCase.hard(n, 14)
        if n > 1 { values[n / 2] = .greatestFiniteMagnitude }
        #expect(Floats(values).lend { Kernels.allFinite($0) })
        for i in 0..<n {
            for bad in [Float.nan, .infinity, -.infinity, .signalingNaN] {
                var spoiled = values
                spoiled[i] = bad
                #expect(!Floats(spoiled).lend { Kernels.allFinite($0) }, "n \(n), position \(i), \(bad)")
            }
        }
    }
}

/// The kernel of the softmax losses.
struct ExpSumTests {
    @Test(arguments: [Float(1), 0.2, 5, 1000])
    func isWithinItsStatedErrorOfTheExponential(inverseTemperature: Float) {
        // Arguments over the whole range in which the result is kept, the ends included.
        var logits = (0...20_000).map { -87 * Float($0) / 20_000 / inverseTemperature }
        logits += [-.leastNormalMagnitude, -1e-30, -0.34657359, -0.6931472, -1]
        let v = Floats(logits)
        let sum = v.lend { Kernels.expSum($0, shift: 0, inverseTemperature: inverseTemperature) }
        var worst = 0.0
        var exactSum = 0.0
        for (logit, got) in zip(logits, v.array) {
            let argument = logit * inverseTemperature
            if argument < -87 { continue }
            let exact = referenceExp(Double(argument))
            exactSum += exact
            worst = max(worst, abs(Double(got) - exact) / exact)
        }
        #expect(worst < 2e-7)
        #expect(abs(Double(sum) - exactSum) / exactSum < 1e-6)
    }

    @Test(arguments: KernelCase.sizes)
    func sumsWhatItWrites(n: Int) {
        let logits = KernelCase.numbers(n, 20, in: -30..<4)
        let v = Floats(logits, offset: 1)
        let sum = v.lend { Kernels.expSum($0, shift: 4, inverseTemperature: 1) }
        let values = v.array
        #expect(sum.bitPattern == KernelTests.lanedDot(values[...], [Float](repeating: 1, count: n)).bitPattern)
        for (logit, got) in zip(logits, values) {
            let exact = referenceExp(Double(logit - 4))
            #expect(abs(Double(got) - exact) <= 2e-7 * exact)
        }
    }

    @Test func excludedAndFarLogitsCountAsZero() {
        var logits = [Float](repeating: -.infinity, count: 37)
        logits[5] = 2
        logits[36] = 1
        logits[20] = -1e38
        let v = Floats(logits)
        let sum = v.lend { Kernels.expSum($0, shift: 2, inverseTemperature: 1000) }
        #expect(sum == 1)
        #expect(v.array.enumerated().allSatisfy { $0.element == ($0.offset == 5 ? 1 : 0) })
        let far = Floats([0, -87.5, -3.4e38, .greatestFiniteMagnitude])
        #expect(far.lend { Kernels.expSum($0, shift: .greatestFiniteMagnitude, inverseTemperature: 1) } == 1)
        #expect(far.array == [0, 0, 0, 1])
        let edge = Floats([-87, -87.00001, 0])
        _ = edge.lend { Kernels.expSum($0, shift: 0, inverseTemperature: 1) }
        #expect(edge.array[0].isNormal && edge.array[1] == 0 && edge.array[2] == 1)
    }
}
