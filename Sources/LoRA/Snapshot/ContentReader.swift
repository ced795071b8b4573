internal import TensorCore

/// Takes content apart that came from a file: every number is checked, and what is wrong is thrown.
struct ContentReader {
    private let what: String
    private var reader: ByteReader

    init(_ bytes: [UInt8], of what: String) {
        self.what = what
        reader = ByteReader(bytes)
    }

    var remaining: Int { reader.remaining }

    func refuse(_ message: String) -> LoRAError { LoRAError(.malformedSnapshot, what, message) }

    private func found<Value>(_ value: Value?) throws(LoRAError) -> Value {
        guard let value else { throw refuse("the bytes end too early, or a number in them is impossible") }
        return value
    }

    mutating func byte() throws(LoRAError) -> UInt8 { try found(reader.take()) }
    mutating func number() throws(LoRAError) -> UInt64 { try found(reader.take()) }
    mutating func word() throws(LoRAError) -> UInt32 { try found(reader.take()) }
    mutating func float() throws(LoRAError) -> Float { try found(reader.takeFloat()) }
    mutating func double() throws(LoRAError) -> Double { try found(reader.takeDouble()) }
    mutating func floats(_ count: Int) throws(LoRAError) -> [Float] { try found(reader.takeFloats(count)) }
    mutating func text() throws(LoRAError) -> String { try found(reader.takeText(limit: 1024)) }

    mutating func flag() throws(LoRAError) -> Bool {
        let byte = try byte()
        guard byte <= 1 else { throw refuse("a flag is \(byte)") }
        return byte == 1
    }

    /// A number that was written short, below a limit.
    mutating func short(below limit: UInt64 = 1 << 62) throws(LoRAError) -> Int {
        let value = try found(reader.takeShort())
        guard value < limit else { throw refuse("a count is \(value), \(limit) or more") }
        return Int(value)
    }

    func end() throws(LoRAError) {
        guard reader.remaining == 0 else { throw refuse("\(reader.remaining) bytes more than there should be") }
    }
}
