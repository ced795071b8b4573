internal import LoRA
internal import TensorCore

/// How exactly an adapter's numbers are kept in a file.
public enum AdapterPrecision: String, Sendable, Hashable, CaseIterable {
    /// F32: to the bit.
    case float32
    /// F16, half the size: 11 significant bits, from 6e-8 to 65,504.
    case float16
    /// I8, a quarter of the size: each row of A and of B, and the bias, in 255 steps of its largest magnitude / 127.
    case int8
}

/// What an adapter lost by being written less exactly, measured by reading it back.
public struct PrecisionLoss: Sendable, Hashable {
    /// A largest error and a root mean square.
    public struct Errors: Sendable, Hashable {
        /// The largest error.
        public let largest: Double
        /// The root of the mean of the squared errors.
        public let rootMeanSquare: Double

        init(_ errors: [Double]) {
            largest = errors.reduce(0) { max($0, $1) }
            let squares = errors.reduce(0) { $0 + $1 * $1 }
            rootMeanSquare = errors.isEmpty ? 0 : (squares / Double(errors.count)).squareRoot()
        }
    }

    /// Of each parameter, relative to the largest magnitude in its row of A or of B, or in the bias.
    public let parameters: Errors
    /// Of the output for each probe, ‖ŷ − y‖ / ‖y‖: what scores and rankings feel.
    public let outputs: Errors
    /// The same error relative to what the adapter changes, ‖ŷ − y‖ / ‖y − x‖: what of the learned is lost.
    public let changes: Errors

    /// No loss at all.
    static let none = PrecisionLoss(parameters: Errors([]), outputs: Errors([]), changes: Errors([]))

    private init(parameters: Errors, outputs: Errors, changes: Errors) {
        self.parameters = parameters
        self.outputs = outputs
        self.changes = changes
    }

    /// The probes that are not rows of A.
    static let randomProbes = 64

    /// Compares two adapters of one shape on probes of unit length that depend on nothing but the adapter: random
    /// directions, and the rows of A, along which the map does most. A probe that the map leaves alone, or takes to
    /// zero, has no relative error and is left out there.
    ///
    /// - Complexity: O((rank + 64) · rank · dimension).
    init(of compact: LoRAAdapter, against exact: LoRAAdapter) throws(LoRAError) {
        parameters = Errors(Self.parameterErrors(compact, exact))
        let d = exact.shape.dimension
        var probes = (0..<exact.shape.rank).map { exact.down.row($0) }
        var generator = PhiloxGenerator(seed: 0, stream: 0, purpose: .simulation)
        for _ in 0..<Self.randomProbes { probes.append((0..<d).map { _ in Float(generator.normal()) }) }
        var outputs: [Double] = []
        var changes: [Double] = []
        for probe in probes {
            let length = Self.distance(probe, [])
            guard length > 0 else { continue }
            let x = probe.map { Float(Double($0) / length) }
            let (y, other) = (try exact.forward(x), try compact.forward(x))
            let error = Self.distance(y, other)
            let (size, change) = (Self.distance(y, []), Self.distance(y, x))
            if size > 0 { outputs.append(error / size) }
            if change > 0 { changes.append(error / change) }
        }
        self.outputs = Errors(outputs)
        self.changes = Errors(changes)
    }

    private static func parameterErrors(_ compact: LoRAAdapter, _ exact: LoRAAdapter) -> [Double] {
        func rows(_ adapter: LoRAAdapter) -> [[Float]] {
            [adapter.down, adapter.up].flatMap { matrix in (0..<matrix.rows).map(matrix.row) }
                + (adapter.bias.map { [$0] } ?? [])
        }
        var errors: [Double] = []
        for (row, other) in zip(rows(exact), rows(compact)) {
            let largest = Double(row.reduce(0) { max($0, $1.magnitude) })
            for (value, kept) in zip(row, other) {
                errors.append(largest > 0 ? abs(Double(value) - Double(kept)) / largest : 0)
            }
        }
        return errors
    }

    /// The distance of two vectors; of one from zero where the other is empty.
    private static func distance(_ a: [Float], _ b: [Float]) -> Double {
        a.indices.reduce(0.0) { sum, i in
            let difference = Double(a[i]) - (b.isEmpty ? 0 : Double(b[i]))
            return sum + difference * difference
        }.squareRoot()
    }
}
