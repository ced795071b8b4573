import TensorCore
import TestSupport

/// Numbers in memory that kernels can work on. With an `offset` they start off a cache line, as kernels must allow.
struct Floats {
    private let storage: AlignedStorage<Float>
    private let offset: Int

    init(_ values: [Float], offset: Int = 0) {
        storage = AlignedStorage(count: values.count + offset)
        self.offset = offset
        lend { $0.copy(from: values.span) }
    }

    init(count: Int, offset: Int = 0) { self.init([Float](repeating: 0, count: count), offset: offset) }

    func lend<R>(_ body: (FloatBuffer) -> R) -> R {
        storage.withBuffer { body($0.slice(offset..<$0.count)) }
    }

    var array: [Float] { lend(\.array) }
}

func lend<R>(_ a: Floats, _ b: Floats, _ body: (FloatBuffer, FloatBuffer) -> R) -> R {
    a.lend { a in b.lend { b in body(a, b) } }
}

func lend<R>(_ a: Floats, _ b: Floats, _ c: Floats, _ body: (FloatBuffer, FloatBuffer, FloatBuffer) -> R) -> R {
    a.lend { a in b.lend { b in c.lend { c in body(a, b, c) } } }
}

func lend<R>(
    _ a: Floats, _ b: Floats, _ c: Floats, _ d: Floats,
    _ body: (FloatBuffer, FloatBuffer, FloatBuffer, FloatBuffer) -> R
) -> R {
    lend(a, b) { a, b in lend(c, d) { c, d in body(a, b, c, d) } }
}

/// What the kernel tests run on: sizes around the 16 lanes and the blocks of 4 · 16 columns, rows around blocks of 4 and 8.
enum KernelCase {
    static let seed: UInt64 = 0xA77_0E5
    static let sizes = [0, 1, 2, 3, 15, 16, 17, 31, 63, 64, 65, 127] + underSanitizer([], otherwise: [384])
    static let rows = 1...9

    /// Random numbers in ±2 for a case named by `stream`.
    static func numbers(_ count: Int, _ stream: Int, in range: Range<Float> = -2..<2) -> [Float] {
        var generator = PhiloxGenerator(seed: seed, stream: UInt64(stream), purpose: .simulation)
        return (0..<count).map { _ in generator.uniform(in: range) }
    }

    /// Numbers of all magnitudes down to subnormal ones, with zeros of both signs among them.
    static func hard(_ count: Int, _ stream: Int) -> [Float] {
        var generator = PhiloxGenerator(seed: seed, stream: UInt64(stream) + 1 << 40, purpose: .simulation)
        return (0..<count).map { _ in
            switch generator.integer(below: 8) {
            case 0: return generator.bernoulli(0.5) ? 0 : -0.0
            case 1: return generator.uniform(in: -1..<1) * 0x1p-133
            default:
                let exponent = generator.integer(in: -100..<40)
                return generator.uniform(in: -1..<1) * Float(sign: .plus, exponent: exponent, significand: 1)
            }
        }
    }
}

/// Equal bits, NaNs included.
func sameBits(_ a: [Float], _ b: [Float]) -> Bool { a.map(\.bitPattern) == b.map(\.bitPattern) }
