import TensorCore
import Testing

@testable import LoRA

/// The Riemannian preconditioner of rank-1 gradients against plain loops in Double, over ranks with and without a kernel.
struct PreconditioningTests {
    static let damping: Float = 0.02

    /// (M·Mᵀ + δI)⁻¹·b for M `[b.count, dimension]`.
    static func solved(_ m: [Float], _ dimension: Int, _ b: [Float]) -> [Double] {
        let r = b.count
        var b = b.map(Double.init)
        var g = (0..<r).map { k in
            (0..<r).map { l in
                (0..<dimension).reduce(k == l ? Double(damping) : 0) {
                    $0 + Double(m[k * dimension + $1]) * Double(m[l * dimension + $1])
                }
            }
        }
        for k in 0..<r {
            for row in 0..<r where row != k {
                let factor = g[row][k] / g[k][k]
                for column in 0..<r { g[row][column] -= factor * g[k][column] }
                b[row] -= factor * b[k]
            }
        }
        return (0..<r).map { b[$0] / g[$0][$0] }
    }

    static func check(_ shape: AdapterShape, _ parameters: [Float], _ random: inout RandomCase, _ what: String) {
        let r = shape.rank
        let (a, c) = (random.numbers(r), random.numbers(r))
        let (down, up) = (Floats(a), Floats(c))
        let work = Floats(count: Optimizer.rankOneWorkCount(shape))
        let squared = Floats(parameters).lend { parameters in
            down.lend { down in
                up.lend { up in
                    work.lend {
                        Optimizer.precondition(down: down, up: up, parameters: parameters, shape, damping, $0)
                    }
                }
            }
        }
        for (found, factor, b, squared) in [
            (down.array, shape.upRange, a, squared.down), (up.array, shape.downRange, c, squared.up),
        ] {
            let expected = solved(Array(parameters[factor]), shape.dimension, b)
            let largest = expected.map(abs).max() ?? 0
            // Gram matrices are Float's, and the damping is up to a few thousand times less than they are.
            #expect(distance(found, expected) <= 2e-3 * largest, "\(what), \(random.description)")
            let exact = found.reduce(0.0) { $0 + Double($1) * Double($1) }
            #expect(abs(squared - exact) <= 1e-6 * exact, "\(what), \(random.description)")
        }
    }

    @Test(arguments: 1...17)
    func equalsPlainElimination(rank: Int) throws {
        var random = RandomCase(seed: 32, rank)
        for dimension in [rank, 19, 37, 64, 129] where dimension >= rank {
            let shape = try AdapterShape(dimension: dimension, rank: rank, hasBias: dimension == 37)
            let (size, count) = (rank * dimension, shape.parameterCount)
            let numbers = random.numbers(count)
            Self.check(shape, numbers, &random, "\(dimension)")
            Self.check(shape, [Float](repeating: 0, count: count), &random, "\(dimension), zero")
            let equalRows = (0..<count).map { numbers[$0 < size ? $0 % dimension : $0] }
            Self.check(shape, equalRows, &random, "\(dimension), equal rows of A")
            let halfZero = (0..<count).map { $0 / dimension % 2 == 0 ? numbers[$0] : 0 }
            Self.check(shape, halfZero, &random, "\(dimension), every other row zero")
        }
    }
}
