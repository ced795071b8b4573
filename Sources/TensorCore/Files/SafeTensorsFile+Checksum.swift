extension SafeTensorsFile {
    /// A checksum of what the file holds, XXH3 of 64 bits: every text of the metadata but one, and every tensor with its name,
    /// type, shape and bytes. Another layout of the same has the same checksum.
    ///
    /// It is that of a sequence of byte strings, each after its length as a little-endian u64: the number of texts in decimal
    /// digits; for each text, by key, its key and itself; for each tensor, by name, its name, its type, its dimensions in decimal
    /// digits with commas between, and its bytes. By key and by name: as bytes of UTF-8.
    ///
    /// - Parameter key: The text that is left out: where the checksum itself stands.
    /// - Throws: ``TensorFileError``: `inputOutput`; `dataTooShort` when the file was truncated meanwhile.
    /// - Complexity: O(bytes), with 64 KiB of memory.
    package func contentChecksum(without key: String) throws(TensorFileError) -> UInt64 {
        var stream = ChecksumStream()
        func begin(_ count: Int, _ stream: inout ChecksumStream) {
            stream.append((0..<8).map { UInt8(truncatingIfNeeded: count >> (8 * $0)) }[...])
        }
        func add(_ text: String, _ stream: inout ChecksumStream) {
            let bytes = Array(text.utf8)
            begin(bytes.count, &stream)
            stream.append(bytes[...])
        }
        func precedes(_ one: String, _ other: String) -> Bool { one.utf8.lexicographicallyPrecedes(other.utf8) }
        let texts = metadata.filter { $0.key != key }.sorted { precedes($0.key, $1.key) }
        add("\(texts.count)", &stream)
        for (key, text) in texts {
            add(key, &stream)
            add(text, &stream)
        }
        var buffer = [UInt8](repeating: 0, count: 65_536)
        for tensor in tensors.sorted(by: { precedes($0.name, $1.name) }) {
            add(tensor.name, &stream)
            add(tensor.type.name, &stream)
            add(tensor.shape.map(String.init).joined(separator: ","), &stream)
            begin(tensor.byteRange.count, &stream)
            for start in stride(from: tensor.byteRange.lowerBound, to: tensor.byteRange.upperBound, by: buffer.count) {
                let count = min(buffer.count, tensor.byteRange.upperBound - start)
                try source.read(at: start, into: &buffer, count: count)
                stream.append(buffer[..<count])
            }
        }
        return stream.value
    }
}
