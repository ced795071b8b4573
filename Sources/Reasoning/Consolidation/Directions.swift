internal import TensorCore

/// Directions of length 1 as one matrix, for grouping them by their cosines.
struct Directions: Sendable {
    private static let width = AdaptationContext.tasteDimension
    /// `[count, 64]`, row-major.
    private let values: [Float]
    let count: Int

    init(_ directions: [[Float]]) {
        values = directions.flatMap { $0 }
        count = directions.count
    }

    subscript(i: Int) -> [Float] { Array(values[(i * Self.width)..<((i + 1) * Self.width)]) }

    func picked(_ indices: [Int]) -> Directions { Directions(indices.map { self[$0] }) }

    /// The products of all rows with a vector, `[count]`.
    func products(_ vector: [Float]) -> [Float] {
        var result = [Float](repeating: 0, count: count)
        values.span.withBuffer { matrix in
            vector.span.withBuffer { x in
                var span = result.mutableSpan
                unsafe span.withUnsafeMutableBufferPointer { out in
                    guard let base = out.baseAddress else { return }
                    unsafe Kernels.rowDots(matrix, x, into: FloatBuffer(base: base, count: out.count))
                }
            }
        }
        return result
    }

    /// The number of the centre with the highest cosine for each row; of equals the first.
    func nearest(_ centres: [[Float]]) -> [Int] {
        var nearest = [Int](repeating: 0, count: count)
        guard let first = centres.first else { return nearest }
        var highest = products(first)
        for (j, centre) in centres.enumerated().dropFirst() {
            let products = products(centre)
            for i in products.indices where products[i] > highest[i] { (nearest[i], highest[i]) = (j, products[i]) }
        }
        return nearest
    }

    /// Spherical k-means from given centres: Lloyd's rounds until nothing changes, at most 25. A centre that loses all
    /// its rows stays where it is.
    func grouped(around first: [[Float]]) -> [Int] {
        var centres = first
        var assignment = nearest(centres)
        for _ in 0..<25 {
            var sums = [[Double]](repeating: [Double](repeating: 0, count: Self.width), count: centres.count)
            for i in 0..<count {
                let j = assignment[i]
                for c in 0..<Self.width { sums[j][c] += Double(values[i * Self.width + c]) }
            }
            for j in centres.indices {
                let norm = sums[j].reduce(0.0) { $0 + $1 * $1 }.squareRoot()
                if norm > 1e-9 { centres[j] = sums[j].map { Float($0 / norm) } }
            }
            let next = nearest(centres)
            if next == assignment { break }
            assignment = next
        }
        return assignment
    }

    /// Two different rows to start from: one at random, the other drawn by its squared distance to it, which on the
    /// sphere is 2 − 2·cosine (k-means++); `nil` when all rows are the same.
    func twoCentres(_ generator: inout PhiloxGenerator) -> [[Float]]? {
        let first = self[generator.integer(below: count)]
        // Below 1e-6 it is what rounding left of 0.
        let distances = products(first).map { 2 - 2 * Double($0) }.map { $0 < 1e-6 ? 0 : $0 }
        let total = distances.reduce(0, +)
        guard total > 0 else { return nil }
        var left = generator.uniformDouble() * total
        var drawn = 0
        for i in distances.indices where distances[i] > 0 {
            drawn = i
            left -= distances[i]
            if left < 0 { break }
        }
        return [first, self[drawn]]
    }

    /// The mean silhouette of two groups under the distance 1 − cosine: over rows (b − a) / max(a, b), with a the mean
    /// distance to the others of the row's group and b that to the other group; 0 for a row alone in its group.
    ///
    /// No pairs are needed: the mean cosine with a group is the product with the group's mean.
    ///
    /// - Parameter isSecond: For each row whether it is in the second group. Both groups have members.
    func silhouette(_ isSecond: [Bool]) -> Double {
        var sums = [[Float]](repeating: [Float](repeating: 0, count: Self.width), count: 2)
        var sizes = [0, 0]
        for i in 0..<count {
            let group = isSecond[i] ? 1 : 0
            sizes[group] += 1
            for c in 0..<Self.width { sums[group][c] += values[i * Self.width + c] }
        }
        let products = sums.map { self.products($0) }
        var total = 0.0
        for i in 0..<count {
            let own = isSecond[i] ? 1 : 0
            guard sizes[own] > 1 else { continue }
            let a = max(0, 1 - (Double(products[own][i]) - 1) / Double(sizes[own] - 1))
            let b = max(0, 1 - Double(products[1 - own][i]) / Double(sizes[1 - own]))
            if max(a, b) > 0 { total += (b - a) / max(a, b) }
        }
        return total / Double(count)
    }
}
