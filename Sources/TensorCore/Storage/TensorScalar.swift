/// A number that vectors and matrices can hold: `Float` (embeddings, adapters) or `Double` (solvers).
public protocol TensorScalar: BinaryFloatingPoint, BitwiseCopyable, Sendable {}

extension Float: TensorScalar {}
extension Double: TensorScalar {}
