// The standard library's `Float.random(in:using:)`, `shuffle(using:)` and so on may change from one Swift version to the
// next; results here may enter stored state, so every mapping from bits to numbers is our own and pinned by tests.

extension PhiloxGenerator {
    /// A number from [0, 1): a multiple of 2⁻²⁴, each equally likely. Takes one position.
    public mutating func uniformFloat() -> Float { Float(next() >> 40) * 0x1p-24 }

    /// A number from [0, 1): a multiple of 2⁻⁵³, each equally likely. Takes one position.
    public mutating func uniformDouble() -> Double { Double(next() >> 11) * 0x1p-53 }

    /// A number from `range`, `lowerBound + width · u` rounded, never the upper bound. Takes one position.
    ///
    /// Traps when the range is empty or its width is not finite.
    public mutating func uniform(in range: Range<Float>) -> Float {
        let width = range.upperBound - range.lowerBound
        precondition(width > 0 && width.isFinite, "PhiloxGenerator: the range \(range) is empty or not finite")
        return min(range.lowerBound + width * uniformFloat(), range.upperBound.nextDown)
    }

    /// A number from `range`, `lowerBound + width · u` rounded, never the upper bound. Takes one position.
    ///
    /// Traps when the range is empty or its width is not finite.
    public mutating func uniform(in range: Range<Double>) -> Double {
        let width = range.upperBound - range.lowerBound
        precondition(width > 0 && width.isFinite, "PhiloxGenerator: the range \(range) is empty or not finite")
        return min(range.lowerBound + width * uniformDouble(), range.upperBound.nextDown)
    }

    /// True with the given probability, in 0...1 (0 never, 1 always). Takes one position.
    public mutating func bernoulli(_ probability: Double) -> Bool {
        precondition(
            probability >= 0 && probability <= 1, "PhiloxGenerator: a probability outside 0...1 (\(probability))")
        return uniformDouble() < probability
    }

    /// A whole number from `0 ..< bound`, each exactly equally likely; `bound` must be positive.
    ///
    /// Takes one position, rarely (with probability below `bound` / 2⁶⁴) more.
    ///
    /// **Source.** Lemire 2019, *Fast random integer generation in an interval*, ACM TOMACS 29(1), algorithm 5,
    /// [arXiv:1805.10941](https://arxiv.org/abs/1805.10941).
    public mutating func integer(below bound: Int) -> Int {
        precondition(bound > 0, "PhiloxGenerator: the bound must be positive, not \(bound)")
        return Int(integer(below: UInt64(bound)))
    }

    /// A whole number from `range`, each exactly equally likely; the range must not be empty.
    public mutating func integer(in range: Range<Int>) -> Int {
        precondition(!range.isEmpty, "PhiloxGenerator: the range is empty")
        // The width may exceed Int.max; two's complement wraps to the right answer.
        let width = UInt64(bitPattern: Int64(range.upperBound)) &- UInt64(bitPattern: Int64(range.lowerBound))
        return range.lowerBound &+ Int(truncatingIfNeeded: integer(below: width))
    }

    private mutating func integer(below bound: UInt64) -> UInt64 {
        var product = next().multipliedFullWidth(by: bound)
        if product.low < bound {
            // The 2⁶⁴ mod bound lowest products would make some results likelier than others.
            let threshold = (0 &- bound) % bound
            while product.low < threshold { product = next().multipliedFullWidth(by: bound) }
        }
        return product.high
    }
}

extension PhiloxGenerator {
    /// A draw from the normal distribution with the given mean and standard deviation. Takes exactly one position.
    ///
    /// The quantile of a uniform number from {2⁻⁵³, 3·2⁻⁵³, … 1 − 2⁻⁵³}, so within ±8.21 standard deviations.
    ///
    /// **Numerics.** Only + − · ÷ √ in Double, in a fixed order: the same bits on every machine. `standardDeviation` must be
    /// finite and not negative.
    ///
    /// **Source.** Wichura 1988, *Algorithm AS 241*, Applied Statistics 37(3), routine PPND16.
    public mutating func normal(mean: Double = 0, standardDeviation: Double = 1) -> Double {
        precondition(
            standardDeviation >= 0 && standardDeviation.isFinite,
            "PhiloxGenerator: the standard deviation must be finite and not negative, not \(standardDeviation)")
        // The 52-bit cell's midpoint: never 0 or 1, exact in Double, symmetric about 1/2.
        return mean + standardDeviation * NormalQuantile.value(at: (Double(next() >> 12) + 0.5) * 0x1p-52)
    }

    /// Fills `destination` with normal draws (computed in Double, then rounded). Takes one position per element.
    public mutating func fillNormal<Element: TensorScalar>(
        _ destination: inout MutableSpan<Element>, mean: Double = 0, standardDeviation: Double = 1
    ) {
        for i in destination.indices {
            destination[i] = Element(normal(mean: mean, standardDeviation: standardDeviation))
        }
    }

    /// Fills `destination` with uniform numbers from `range`, which is also the range after rounding to `Element`.
    public mutating func fillUniform<Element: TensorScalar>(
        _ destination: inout MutableSpan<Element>, in range: Range<Element>
    ) {
        let lower = Double(range.lowerBound)
        let width = Double(range.upperBound) - lower
        precondition(width > 0 && width.isFinite, "PhiloxGenerator: the range \(range) is empty or not finite")
        let last = range.upperBound.nextDown
        for i in destination.indices { destination[i] = min(Element(lower + width * uniformDouble()), last) }
    }
}

extension PhiloxGenerator {
    /// The numbers `0 ..< count` in random order, each order equally likely.
    ///
    /// - Complexity: O(count).
    ///
    /// **Source.** Fisher and Yates, as algorithm P in Knuth, *The Art of Computer Programming* 2, §3.4.2.
    public mutating func permutation(_ count: Int) -> [Int] {
        precondition(count >= 0, "PhiloxGenerator: a negative count (\(count))")
        var order = Array(0..<count)
        shuffle(&order)
        return order
    }

    /// Puts the elements in random order, each order equally likely. O(count).
    public mutating func shuffle<Element>(_ elements: inout [Element]) {
        // The last place has no choice, and draws nothing.
        for i in 0..<max(elements.count - 1, 0) { elements.swapAt(i, i + integer(below: elements.count - i)) }
    }

    /// `count` different numbers from `0 ..< population`, in random order; the first `count` of what
    /// ``permutation(_:)`` would give from the same position.
    ///
    /// - Complexity: O(count) time and memory, whatever the population.
    public mutating func sample(_ count: Int, of population: Int) -> [Int] {
        precondition(
            count >= 0 && count <= population,
            "PhiloxGenerator: cannot sample \(count) of \(population) without replacement")
        // The Fisher–Yates shuffle of an array of which only the displaced entries are kept.
        var displaced: [Int: Int] = [:]
        displaced.reserveCapacity(count)
        var result: [Int] = []
        result.reserveCapacity(count)
        for i in 0..<count {
            let j = i == population - 1 ? i : i + integer(below: population - i)
            result.append(displaced[j] ?? j)
            if j != i { displaced[j] = displaced[i] ?? i }
            displaced[i] = nil
        }
        return result
    }
}
