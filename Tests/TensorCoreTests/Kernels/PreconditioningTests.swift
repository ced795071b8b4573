import TensorCore
import TestSupport
import Testing

/// Preconditioning of rank-1 gradients, on numbers of one case.
struct PreconditioningCase {
    enum Kind: String, CaseIterable {
        case ordinary, small, zero, equalRows, nearlyEqualRows, oneRow, hard
    }

    let rank: Int
    let dimension: Int
    let kind: Kind
    let damping: Float
    let parameters: [Float]
    let right: [Float]

    init(_ rank: Int, _ dimension: Int, _ kind: Kind, damping: Float) {
        (self.rank, self.dimension, self.kind, self.damping) = (rank, dimension, kind, damping)
        let count = 2 * rank * dimension
        let numbers = KernelCase.numbers(count, 80)
        parameters =
            switch kind {
            case .ordinary: numbers
            case .small: numbers.map { 1e-4 * $0 }
            case .zero: [Float](repeating: 0, count: count)
            case .equalRows: (0..<count).map { numbers[$0 % dimension] }
            case .nearlyEqualRows: (0..<count).map { numbers[$0 % dimension] + 1e-5 * numbers[$0] }
            case .oneRow: (0..<count).map { $0 / dimension % rank == 1 ? numbers[$0] : 0 }
            case .hard: KernelCase.hard(count, 81)
            }
        right = kind == .hard ? KernelCase.hard(2 * rank, 82) : KernelCase.numbers(2 * rank, 83)
    }

    /// One kind at sizes around the 16 lanes, with a usual damping and with one that disappears in the rounding of Float.
    static func all(_ rank: Int, _ kind: Kind) -> [PreconditioningCase] {
        ([1, 3, 15, 16, 17, 37] + underSanitizer([], otherwise: [64, 100, 384])).flatMap { dimension in
            [1e-2, 1e-6].map { PreconditioningCase(rank, dimension, kind, damping: $0) }
        }
    }

    var description: String { "[\(rank), \(dimension)], \(kind.rawValue), damping \(damping)" }

    /// The solutions, down's before up's, and their squared norms.
    func solve(offset: Int = 0) -> (solutions: [Float], squared: [Double])? {
        let right = Floats(right, offset: offset)
        return lend(Floats(parameters, offset: offset), right) { parameters, right in
            let map = AdapterMap(parameters, rank: rank, dimension: dimension, hasBias: false, scale: 1)
            return Kernels.preconditionRankOne(
                map, down: right.slice(0..<rank), up: right.slice(rank..<(2 * rank)), damping: damping
            ).map { (right.array, [$0.down, $0.up]) }
        }
    }

    /// Row after row of M·Mᵀ, as the kernels sum it, M being the factor number `i` of the parameters.
    private func gram(_ i: Int) -> [[Double]] {
        let rows = (0..<rank).map { k in
            Array(parameters[((i * rank + k) * dimension)..<((i * rank + k + 1) * dimension)])
        }
        var gram = [[Double]](repeating: [Double](repeating: 0, count: rank), count: rank)
        for k in 0..<rank {
            for l in 0...k {
                gram[k][l] = Double(KernelTests.lanedDot(rows[k][...], rows[l]))
                gram[l][k] = gram[k][l]
            }
        }
        return gram
    }

    /// The same from plain loops: elimination downwards, then back, no pivot below the damping. And what rounding leaves of the
    /// digits, relative to the largest solution: Float's, and Double's times the condition.
    func expected() -> (solutions: [Double], tolerance: Double) {
        let delta = Double(damping)
        var largest = 0.0
        let solutions = (0..<2).flatMap { i in
            // ∂A, the first factor's, is preconditioned by the second factor.
            var g = gram(1 - i)
            var b = right[(i * rank)..<((i + 1) * rank)].map(Double.init)
            for k in 0..<rank {
                largest = max(largest, g[k][k])
                g[k][k] += delta
            }
            for k in 0..<rank {
                g[k][k] = max(g[k][k], delta)
                for row in (k + 1)..<max(rank, k + 1) {
                    let factor = g[row][k] / g[k][k]
                    for column in k..<rank { g[row][column] -= factor * g[k][column] }
                    b[row] -= factor * b[k]
                }
            }
            for k in stride(from: rank - 1, through: 0, by: -1) {
                for column in (k + 1)..<max(rank, k + 1) { b[k] -= g[k][column] * b[column] }
                b[k] /= g[k][k]
            }
            return b
        }
        return (solutions, 0x1p-22 + 64 * 0x1p-53 * largest / delta)
    }
}

struct PreconditioningTests {
    @Test(arguments: [4, 8, 16], PreconditioningCase.Kind.allCases.filter { $0 != .hard })
    func solvesBothSystems(rank: Int, kind: PreconditioningCase.Kind) throws {
        for c in PreconditioningCase.all(rank, kind) {
            let (solutions, squared) = try #require(c.solve(offset: 1))
            let (expected, tolerance) = c.expected()
            for (part, squared) in zip([0..<rank, rank..<(2 * rank)], squared) {
                let largest = expected[part].map(abs).max() ?? 0
                // Rows that differ by less than Float rounds their dots leave no digits to a damping below that, and numbers of any
                // size.
                guard kind != .nearlyEqualRows || largest < 1e30 else { continue }
                for i in part {
                    #expect(abs(Double(solutions[i]) - expected[i]) <= tolerance * largest, "\(c.description), \(i)")
                }
                let exact = solutions[part].reduce(0.0) { $0 + Double($1) * Double($1) }
                #expect(abs(squared - exact) <= 1e-14 * exact, "\(c.description)")
            }
        }
    }

    @Test(arguments: (1...17).filter { ![4, 8, 16].contains($0) })
    func leavesOtherRanksAlone(rank: Int) {
        let c = PreconditioningCase(rank, 37, .ordinary, damping: 0.01)
        #expect(c.solve() == nil)
    }

    /// What overflows does not end as a number.
    @Test(arguments: [4, 8, 16]) func overflowShows(rank: Int) throws {
        let fine = PreconditioningCase(rank, 64, .ordinary, damping: 0.01)
        let parameters = Floats(fine.parameters.map { $0 * 1e30 })
        let right = Floats(fine.right)
        lend(parameters, right) { parameters, right in
            _ = Kernels.preconditionRankOne(
                AdapterMap(parameters, rank: rank, dimension: 64, hasBias: false, scale: 1),
                down: right.slice(0..<rank), up: right.slice(rank..<(2 * rank)), damping: 0.01)
        }
        #expect(right.array[..<rank].contains { $0.isNaN } && right.array[rank...].contains { $0.isNaN })
    }
}
