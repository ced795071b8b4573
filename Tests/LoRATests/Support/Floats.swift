import TensorCore

/// Numbers in aligned memory, to be lent to what works on buffers.
struct Floats {
    let storage: AlignedStorage<Float>

    init(_ values: [Float]) {
        storage = AlignedStorage(count: values.count)
        storage.withBuffer { $0.copy(from: values.span) }
    }

    init(count: Int) { storage = AlignedStorage(count: count) }

    func lend<R, E: Error>(_ body: (FloatBuffer) throws(E) -> R) throws(E) -> R { try storage.withBuffer(body) }

    var array: [Float] { storage.withBuffer { $0.array } }
}

extension AlignedStorage where Element == Float {
    var bits: [UInt32] { withBuffer { $0.array.map(\.bitPattern) } }
}

/// The largest difference between two lists.
func distance(_ a: [Double], _ b: [Double]) -> Double {
    precondition(a.count == b.count, "\(a.count) numbers against \(b.count)")
    return zip(a, b).reduce(0) { max($0, abs($1.0 - $1.1)) }
}

func distance(_ a: [Float], _ b: [Double]) -> Double { distance(a.map(Double.init), b) }

func largest(_ a: [Double]) -> Double { a.reduce(0) { max($0, abs($1)) } }

func norm(_ a: [Double]) -> Double { a.reduce(0) { $0 + $1 * $1 }.squareRoot() }
