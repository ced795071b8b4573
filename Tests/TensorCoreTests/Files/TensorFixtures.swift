import Testing

@testable import TensorCore

/// The files under Tests/Fixtures/tensors, made by NumPy and the safetensors package, and `expected.json` about them.
enum TensorFixtures {
    static let folder =
        #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(3).joined(separator: "/")
        + "/Fixtures"

    static func path(_ file: String) -> String { "\(folder)/tensors/\(file)" }

    static func bytes(_ file: String) throws -> [UInt8] {
        let source = try ByteSource(path: path(file))
        return try source.bytes(0..<source.count)
    }

    struct Tensor: Sendable {
        let name: String
        let type: String
        let shape: [Int]
        /// The elements' bit patterns, row-major.
        let bits: [UInt64]
    }

    struct File: Sendable, CustomTestStringConvertible {
        let name: String
        let format: String
        let isRead: Bool
        let reason: String
        let tensors: [Tensor]
        let metadata: [String: String]
        var testDescription: String { name }
    }

    static let files: [File] = {
        do {
            let root = try StrictJSON.parse(bytes("expected.json"))
            return try root.member("files").elements().map { file in
                File(
                    name: try file.member("file").text(), format: try file.member("format").text(),
                    isRead: try file.member("expect").text() == "read",
                    reason: (try? file.member("reason").text()) ?? "",
                    tensors: try ((try? file.member("tensors").elements()) ?? []).map { tensor in
                        Tensor(
                            name: try tensor.member("name").text(), type: try tensor.member("dtype").text(),
                            shape: try tensor.member("shape").elements().map { try Int($0.integer()) },
                            bits: try tensor.member("bits").elements().map {
                                try #require(UInt64($0.text(), radix: 16))
                            })
                    },
                    metadata: Dictionary(
                        uniqueKeysWithValues: try ((try? file.member("metadata").members()) ?? []).map {
                            ($0.key, try $0.value.text())
                        }))
            }
        } catch {
            Issue.record("cannot read the fixtures: \(error)")
            return []
        }
    }()

    static func named(_ format: String, read: Bool) -> [File] {
        files.filter { $0.format == format && $0.isRead == read }
    }

    /// The exact value of a bit pattern; computed in another way than the reader does.
    static func value(_ bits: UInt64, type: String) -> Double {
        switch type {
        case "<f8", "F64": return Double(bitPattern: bits)
        case "<f4", "F32": return Double(Float(bitPattern: UInt32(bits)))
        case "BF16": return Double(Float(bitPattern: UInt32(bits) << 16))
        default:
            let exponent = Int(bits >> 10 & 31)
            let fraction = Double(bits & 1023)
            if exponent == 31 && fraction > 0 { return .nan }
            var magnitude = exponent == 0 ? fraction / 1024 : 1 + fraction / 1024
            if exponent == 31 { magnitude = .infinity }
            for _ in 0..<max(15 - max(exponent, 1), 0) { magnitude /= 2 }
            for _ in 0..<max(exponent - 15, 0) { magnitude *= 2 }
            return bits & 0x8000 == 0 ? magnitude : -magnitude
        }
    }
}

struct WrongKind: Error {}

extension JSONValue {
    func members() throws -> [Member] {
        guard case .object(let members) = content else { throw WrongKind() }
        return members
    }
    func member(_ key: String) throws -> JSONValue {
        guard let member = try members().first(where: { $0.key == key }) else { throw WrongKind() }
        return member.value
    }
    func elements() throws -> [JSONValue] {
        guard case .array(let elements) = content else { throw WrongKind() }
        return elements
    }
    func text() throws -> String {
        guard case .string(let text) = content else { throw WrongKind() }
        return text
    }
    func integer() throws -> UInt64 {
        guard case .integer(let value) = content else { throw WrongKind() }
        return value
    }
}

/// Equal, with NaN equal to NaN and −0 different from +0.
func sameNumbers<Element: BinaryFloatingPoint>(_ a: [Element], _ b: [Element]) -> Bool {
    a.count == b.count && zip(a, b).allSatisfy { $0.isNaN ? $1.isNaN : $0 == $1 && $0.sign == $1.sign }
}

/// The code of the error that `body` throws; `nil` when it throws none or another.
func errorOf(_ body: () throws -> Void) -> TensorFileError? {
    do {
        try body()
        return nil
    } catch {
        return error as? TensorFileError
    }
}
