internal import LoRA
public import TensorCore

/// An adapter as a `.safetensors` file: for carrying adapters elsewhere and looking at them.
///
/// | Tensor | Shape | |
/// |---|---|---|
/// | `A` | `[rank, dimension]` | F32, F16 or I8 |
/// | `B_transposed` | `[rank, dimension]` | the same type; B is stored transposed |
/// | `bias` | `[dimension]` | the same type, where the adapter has one |
/// | `A_scale`, `B_transposed_scale` | `[rank]` | F32, beside I8: a value is its integer times its row's scale |
/// | `bias_scale` | `[1]` | the same for the bias |
/// | `state` | `[bytes]` | I8, where all state is kept: the bytes of ``LoRAAdapter/snapshot()`` |
///
/// Metadata: `format` (`attune-adapter`), `format_version` (`2`), `user`, `embedding_model`, `alpha`, `scaling`,
/// `normalizes_output`, `seed`, `stream`, `version`, `steps`; `started_from` where the adapter started from a prior;
/// `precision` (``AdapterPrecision``) where it is not `float32`; `attune_xxh3`, a checksum of the tensors and of all other
/// metadata, without which a flipped bit in a tensor would be another adapter. Files of version 1 had none, and are read.
///
/// The file holds the map, and the optimizer's memory, the protection and the start only where that is asked for: an
/// adapter read from it applies to the bit as the one that was written (with less precision: as that one rounded), and
/// after a cold start, under plain SGD with a schedule that does not look at the loss, it also goes on learning so. One
/// that started from a prior is otherwise written with the prior's name alone: read again, it fades towards the identity.
/// With all state it always goes on to the bit.
public enum AdapterFile {
    private static let format = "attune-adapter"
    private static let formatVersion = "2"
    /// Without a checksum.
    private static let olderVersion = "1"
    private static let checksumKey = "attune_xxh3"

    /// Writes an adapter; the file appears whole or not at all.
    ///
    /// - Parameters:
    ///   - record: The adapter, and whose it is.
    ///   - path: The file.
    ///   - precision: How exactly the numbers are kept.
    ///   - keepsState: Whether what the adapter has beside the map goes with it: the optimizer's memory, the protection,
    ///     the start and what a schedule remembers. An adapter without any of it gives the same file either way.
    /// - Returns: What was lost, by reading back what was written; nothing for `float32`.
    /// - Throws: ``TensorFileError``: `inputOutput` naming the path; `notFinite` where a number is beyond the range
    ///   of F16; `invalidArgument` for state beside numbers that are rounded.
    /// - Complexity: O(bytes of the adapter); with less precision O((rank + 64) · rank · dimension) for measuring.
    @discardableResult
    public static func write(
        _ record: StoredAdapter, to path: String, precision: AdapterPrecision = .float32, keepsState: Bool = false
    ) throws(TensorFileError) -> PrecisionLoss {
        try write(record, to: path, precision: precision, keepsState: keepsState, isPrivate: false)
    }

    /// The same; `isPrivate` makes a file that its owner alone may read.
    @discardableResult
    package static func write(
        _ record: StoredAdapter, to path: String, precision: AdapterPrecision = .float32, keepsState: Bool = false,
        isPrivate: Bool
    ) throws(TensorFileError) -> PrecisionLoss {
        guard !keepsState || precision == .float32 else {
            throw TensorFileError(
                .invalidArgument, path: path,
                "an adapter's state belongs to its numbers to the bit: write it as float32, or without")
        }
        var writer = try writer(record, path, precision)
        if keepsState, record.adapter.hasState {
            let bytes = record.adapter.snapshot()
            try writer.addIntegers(stateName, shape: [bytes.count], bytes.map { Int8(bitPattern: $0) })
        }
        writer.metadata[checksumKey] = try checksum(of: SafeTensorsFile(bytes: writer.bytes(), name: path))
        var loss = PrecisionLoss.none
        if precision != .float32 {
            let written = try self.record(in: SafeTensorsFile(bytes: writer.bytes(), name: path))
            do throws(LoRAError) {
                loss = try PrecisionLoss(of: written.adapter, against: record.adapter)
            } catch {
                throw TensorFileError(.notFinite, path: path, "the loss cannot be measured: \(error)")
            }
        }
        try writer.write(to: path, isPrivate: isPrivate)
        return loss
    }

    private static let stateName = "state"

    private static func writer(
        _ record: StoredAdapter, _ path: String, _ precision: AdapterPrecision
    ) throws(TensorFileError) -> SafeTensorsWriter {
        let adapter = record.adapter
        let shape = adapter.shape
        var metadata = [
            "format": format, "format_version": formatVersion, "user": record.user,
            "embedding_model": record.embeddingModel, "alpha": "\(shape.alpha)", "scaling": shape.scaling.rawValue,
            "normalizes_output": "\(shape.normalizesOutput)", "seed": "\(adapter.identity.seed)",
            "stream": "\(adapter.identity.stream)", "version": "\(adapter.version)", "steps": "\(adapter.steps)",
        ]
        if let prior = adapter.startedFrom { metadata["started_from"] = "\(prior)" }
        if precision != .float32 { metadata["precision"] = precision.rawValue }
        var writer = SafeTensorsWriter(metadata: metadata)
        let matrix = [shape.rank, shape.dimension]
        try add("A", matrix, adapter.down.array, precision, path, to: &writer)
        try add("B_transposed", matrix, adapter.up.array, precision, path, to: &writer)
        if let bias = adapter.bias { try add("bias", [shape.dimension], bias, precision, path, to: &writer) }
        return writer
    }

    /// Reads an adapter. Everything in the file is checked; nothing in it is trusted.
    ///
    /// - Throws: ``TensorFileError`` naming the path and what is wrong: not a `.safetensors` file, not an adapter,
    ///   another format version, a wrong checksum (`damaged`), a missing, misshapen or unknown tensor, metadata that is absent or no such value,
    ///   numbers that are not finite.
    public static func read(_ path: String) throws(TensorFileError) -> StoredAdapter {
        try record(in: SafeTensorsFile(path: path))
    }

    /// The same for a file in memory.
    package static func read(bytes: [UInt8]) throws(TensorFileError) -> StoredAdapter {
        try record(in: SafeTensorsFile(bytes: bytes))
    }

    private static func record(in file: SafeTensorsFile) throws(TensorFileError) -> StoredAdapter {
        func refuse(_ message: String) -> TensorFileError { TensorFileError(.malformed, path: file.path, message) }
        func text(_ key: String) throws(TensorFileError) -> String {
            guard let value = file.metadata[key] else { throw refuse("the metadata has no '\(key)'") }
            return value
        }
        func number<Number: LosslessStringConvertible>(_ key: String, _ type: Number.Type) throws(TensorFileError)
            -> Number
        {
            guard let value = Number(try text(key)) else { throw refuse("the metadata '\(key)' is not a \(type)") }
            return value
        }
        guard file.metadata["format"] == format else {
            throw refuse("not an Attune adapter: the metadata's format is not '\(format)'")
        }
        let formatVersion = try text("format_version")
        guard [Self.formatVersion, olderVersion].contains(formatVersion) else {
            throw TensorFileError(
                .unsupported, path: file.path,
                "format version \(TensorFileError.quoted(formatVersion)); this version of Attune reads \(olderVersion) and "
                    + "\(Self.formatVersion)")
        }
        if formatVersion != olderVersion || file.metadata[checksumKey] != nil {
            guard try file.metadata[checksumKey] == checksum(of: file) else {
                throw TensorFileError(
                    .damaged, path: file.path,
                    "the file is damaged: its checksum is not that of what it holds; write it again, or take a copy")
            }
        }
        guard let precision = AdapterPrecision(rawValue: file.metadata["precision"] ?? "float32") else {
            throw TensorFileError(
                .unsupported, path: file.path,
                "the metadata 'precision' is none of \(AdapterPrecision.allCases.map(\.rawValue))")
        }
        let known = ["A", "B_transposed", "bias"] + (precision == .float32 ? [stateName] : [])
        for name in file.names
        where !known.contains(name) && (precision != .int8 || !known.contains { name == $0 + scaleSuffix }) {
            throw refuse("the tensor '\(name)' is no part of an adapter")
        }
        guard let scaling = AdapterShape.Scaling(rawValue: try text("scaling")) else {
            throw refuse("the metadata 'scaling' is none of \(AdapterShape.Scaling.allCases.map(\.rawValue))")
        }
        let down = try matrix("A", file, precision)
        let up = try matrix("B_transposed", file, precision)
        let bias: [Float]? = file["bias"] == nil ? nil : try vector("bias", file, precision)
        let user = try text("user")
        guard !user.isEmpty, user.utf8.count <= 1024 else {
            throw refuse("the user is empty or longer than 1024 bytes")
        }
        let alpha = try number("alpha", Float.self)
        let normalizes = try number("normalizes_output", Bool.self)
        let identity = AdapterIdentity(seed: try number("seed", UInt64.self), stream: try number("stream", UInt64.self))
        let version = try number("version", UInt64.self)
        let steps = try number("steps", UInt64.self)
        let model = try text("embedding_model")
        do {
            let shape = try AdapterShape(
                dimension: down.columns, rank: down.rows, alpha: alpha, scaling: scaling, hasBias: bias != nil,
                normalizesOutput: normalizes)
            let adapter = try LoRAAdapter(
                shape: shape, identity: identity, down: down, up: up, bias: bias, version: version, steps: steps)
            guard file[stateName] != nil else {
                return StoredAdapter(user: user, embeddingModel: model, adapter: adapter)
            }
            let whole = try LoRAAdapter(snapshot: try state(in: file))
            guard whole.hasSameMap(as: adapter), whole.startedFrom.map({ "\($0)" }) == file.metadata["started_from"]
            else { throw refuse("the tensor '\(stateName)' is the state of another adapter than A and B are of") }
            return StoredAdapter(user: user, embeddingModel: model, adapter: whole)
        } catch let error as TensorFileError {
            throw error
        } catch {
            throw refuse("\(error)")
        }
    }
}

extension AdapterFile {
    /// What stands under `attune_xxh3`: 16 hexadecimal digits.
    private static func checksum(of file: SafeTensorsFile) throws(TensorFileError) -> String {
        let digits = String(try file.contentChecksum(without: checksumKey), radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    private static func state(in file: SafeTensorsFile) throws(TensorFileError) -> [UInt8] {
        guard file[stateName]?.shape.count == 1 else {
            throw TensorFileError(
                .wrongShape, path: file.path, tensor: stateName, "the bytes of a snapshot have 1 dimension")
        }
        return try file.integers(stateName).map { UInt8(bitPattern: $0) }
    }
}

extension LoRAAdapter {
    /// Whether there is more to go on with than the map and the counts.
    package var hasState: Bool {
        start != nil || optimizerState != nil || protection != nil || plateau != nil || experts != nil
    }

    /// Whether the other has the same map, counts and identity, to the bit.
    fileprivate func hasSameMap(as other: LoRAAdapter) -> Bool {
        guard shape == other.shape, identity == other.identity, version == other.version, steps == other.steps else {
            return false
        }
        func bits(_ adapter: LoRAAdapter) -> [UInt32] {
            adapter.parameters.withBuffer { $0.array.map(\.bitPattern) }
        }
        return bits(self) == bits(other)
    }
}
