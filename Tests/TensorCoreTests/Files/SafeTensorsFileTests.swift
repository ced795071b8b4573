import Testing

@testable import TensorCore

struct SafeTensorsFileTests {
    static func file(_ header: String, dataCount: Int) -> [UInt8] {
        let length = UInt64(header.utf8.count)
        return (0..<8).map { UInt8(truncatingIfNeeded: length >> (8 * UInt64($0))) } + Array(header.utf8)
            + [UInt8](repeating: 0, count: dataCount)
    }

    static func item(_ name: String, _ type: String, _ shape: String, _ begin: Int, _ end: Int) -> String {
        "\"\(name)\":{\"dtype\":\"\(type)\",\"shape\":[\(shape)],\"data_offsets\":[\(begin),\(end)]}"
    }

    @Test(arguments: TensorFixtures.named("safetensors", read: true))
    func readsWhatTheReferenceWrote(fixture: TensorFixtures.File) throws {
        for file in [
            try SafeTensorsFile(path: TensorFixtures.path(fixture.name)),
            try SafeTensorsFile(bytes: TensorFixtures.bytes(fixture.name)),
        ] {
            #expect(file.metadata == fixture.metadata)
            #expect(file.names.sorted() == fixture.tensors.map(\.name).sorted())
            for expected in fixture.tensors {
                let tensor = try #require(file[expected.name])
                #expect(tensor.type.name == expected.type)
                #expect(tensor.shape == expected.shape)
                #expect(tensor.count == expected.bits.count)
                guard tensor.type.isReadable else {
                    let error = errorOf { _ = try file.elements(expected.name, of: Float.self) }
                    #expect(error?.code == .unsupportedType)
                    #expect(error?.tensor == expected.name)
                    continue
                }
                let values = expected.bits.map { TensorFixtures.value($0, type: expected.type) }
                #expect(try sameNumbers(file.elements(expected.name, of: Double.self).array, values))
                #expect(try sameNumbers(file.elements(expected.name, of: Float.self).array, values.map { Float($0) }))
                switch tensor.shape.count {
                case 1: #expect(try sameNumbers(file.vector(expected.name, of: Double.self).array, values))
                case 2:
                    let matrix = try file.matrix(expected.name, of: Double.self)
                    #expect([matrix.rows, matrix.columns] == expected.shape)
                    #expect(sameNumbers(matrix.array, values))
                default:
                    #expect(errorOf { _ = try file.matrix(expected.name, of: Float.self) }?.code == .wrongShape)
                    #expect(errorOf { _ = try file.vector(expected.name, of: Float.self) }?.code == .wrongShape)
                }
            }
        }
    }

    @Test(arguments: TensorFixtures.named("safetensors", read: false))
    func refusesDamagedFiles(fixture: TensorFixtures.File) throws {
        let codes: [String: TensorFileError.Code] = [
            "empty_file": .dataTooShort, "cut_in_length": .dataTooShort, "cut_in_header": .dataTooShort,
            "cut_in_data": .offsetOutOfRange, "trailing_bytes": .dataTooLong, "huge_header_length": .limitExceeded,
            "not_json": .malformed, "not_utf8": .malformed, "not_an_object": .malformed, "missing_dtype": .malformed,
            "unknown_dtype": .unsupportedType, "offsets_past_end": .offsetOutOfRange,
            "offsets_reversed": .offsetOutOfRange,
            "size_mismatch": .sizeMismatch, "overlap": .overlap, "hole": .gap, "negative_shape": .malformed,
            "huge_shape": .shapeOverflow, "metadata_not_text": .malformed,
        ]
        let path = TensorFixtures.path(fixture.name)
        let error = try #require(errorOf { _ = try SafeTensorsFile(path: path) }, "accepted: \(fixture.reason)")
        #expect(error.code == codes[String(fixture.name.dropFirst(7).dropLast(12))], "\(error)")
        #expect(error.path == path)
        #expect(error.byteOffset != nil)
    }

    @Test(
        arguments: [
            ("{}", 0, nil), ("{}  ", 0, nil), ("{} x", 0, .malformed), (" {}", 0, .malformed), ("[]", 0, .malformed),
            ("{}", 1, .dataTooLong),
            ("{" + item("a", "F32", "2", 0, 8) + "," + item("a", "F32", "2", 0, 8) + "}", 8, .duplicateKey),
            ("{\"__metadata__\":{},\"__metadata__\":{}}", 0, .duplicateKey),
            ("{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0, .duplicateKey),
            ("{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"shape\":[],\"data_offsets\":[0,4]}}", 4, .duplicateKey),
            ("{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4],\"more\":1}}", 4, .malformed),
            ("{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}", 4, .malformed),
            ("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,4]}}", 4, .limitExceeded),
            ("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4]}}", 4, .malformed),
            ("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,18446744073709551615]}}", 4, .malformed),
            ("{\"a\":{\"dtype\":4,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, .malformed),
            ("{\"a\":[]}", 0, .malformed), ("{\"__metadata__\":[]}", 0, .malformed),
            ("{\"a\":[[[[[]]]]]}", 0, .limitExceeded),
            ("{" + item("a", "F32", "9223372036854775807,0", 0, 0) + "}", 0, nil),
            ("{" + item("a", "F32", "9223372036854775807", 0, 4) + "}", 4, .shapeOverflow),
            (
                "{" + item("b", "F32", "1", 4, 8) + "," + item("e", "F32", "0", 4, 4) + ","
                    + item("a", "F32", "1", 0, 4) + "}", 8, nil
            ),
            ("{" + item("a", "F32", "2", 0, 8) + "," + item("e", "F32", "0", 4, 4) + "}", 8, .overlap),
            ("{" + item("a", "F32", "1", 4, 8) + "}", 8, .gap),
            ("{" + item("a", "F4", "3", 0, 2) + "}", 2, .sizeMismatch),
            ("{" + item("a", "F4", "4", 0, 2) + "," + item("b", "F6_E2M3", "4", 2, 5) + "}", 5, nil),
            (
                "{" + item("a", "F32", Array(repeating: "1", count: 65).joined(separator: ","), 0, 4) + "}", 4,
                .limitExceeded
            ),
        ] as [(String, Int, TensorFileError.Code?)])
    func readsTheHeaderStrictly(header: String, dataCount: Int, expected: TensorFileError.Code?) {
        let error = errorOf { _ = try SafeTensorsFile(bytes: Self.file(header, dataCount: dataCount)) }
        #expect(error?.code == expected, "\(error?.description ?? "accepted")")
    }

    @Test func errorsNameFileTensorAndPlace() throws {
        let header = "{" + Self.item("ok", "F32", "1", 0, 4) + "," + Self.item("bad\\u0007", "F32", "3", 4, 8) + "}"
        let error = try #require(
            errorOf { _ = try SafeTensorsFile(bytes: Self.file(header, dataCount: 8), name: "adapter.safetensors") })
        #expect(error.tensor == "bad\u{7}")
        #expect(error.path == "adapter.safetensors")
        let expected =
            #"adapter.safetensors, byte 75, tensor "bad\u{07}": shape [3] of F32 takes 96 bits, data_offsets span 4 bytes"#
        #expect(error.description == expected)
        let missing = errorOf {
            _ = try SafeTensorsFile(bytes: Self.file("{}", dataCount: 0)).elements(
                String(repeating: "x", count: 1000), of: Float.self)
        }
        #expect(missing?.code == .missingTensor)
        #expect((missing?.description.count ?? 1000) < 200)
    }

    @Test func keepsTheHeaderLimit() {
        let bytes = Self.file("{" + String(repeating: " ", count: 1000) + "}", dataCount: 0)
        #expect(errorOf { _ = try SafeTensorsFile(bytes: bytes) } == nil)
        #expect(errorOf { _ = try SafeTensorsFile(bytes: bytes, headerLimit: 1001) }?.code == .limitExceeded)
        #expect(errorOf { _ = try SafeTensorsFile(bytes: bytes, headerLimit: -1) }?.code == .limitExceeded)
        let huge = [UInt8](repeating: 0xFF, count: 8) + Array("{}".utf8)
        #expect(errorOf { _ = try SafeTensorsFile(bytes: huge, headerLimit: .max) }?.code == .limitExceeded)
    }

    @Test func namesTheFirstNumberThatIsNotFinite() throws {
        var writer = SafeTensorsWriter()
        try writer.add("a", [1, 2] as Vector<Float>)
        try writer.add("b", [1, .infinity, .nan] as Vector<Float>)
        let file = try SafeTensorsFile(bytes: writer.bytes())
        let error = try #require(errorOf { _ = try file.vector("b", of: Double.self) })
        #expect(error.code == .notFinite)
        #expect(error.tensor == "b")
        #expect(error.byteOffset == (file["b"]?.byteRange.lowerBound ?? 0) + 4)
        #expect(try sameNumbers(file.vector("b", requireFinite: false).array, [1, .infinity, .nan] as [Float]))
        #expect(try file.vector("a").array == [1, 2] as [Float])
    }

    @Test func writesWhatItReads() throws {
        let folder = try TemporaryFolder()
        var generator = PhiloxGenerator(seed: 4)
        var floats = Matrix<Float>(rows: 3, columns: 127)
        floats.withMutableSpan { generator.fillNormal(&$0) }
        var doubles = Matrix<Double>(rows: 100, columns: 200)
        doubles.withMutableSpan { generator.fillNormal(&$0) }
        let metadata = ["format": "attune", "": "empty key", "text": "\"q\" \\ \n\u{1}\u{7F} é 大 😀"]
        var writer = SafeTensorsWriter(metadata: metadata)
        try writer.add("größe \"q\" \\ 大", floats)
        try writer.add("doubles", doubles)
        try writer.add("empty", Matrix<Float>(rows: 0, columns: 4))
        try writer.add("vector", [1, 2, 3] as Vector<Double>)
        try writer.add("", [4] as Vector<Float>)
        try writer.write(to: folder.file("a.safetensors"))

        let file = try SafeTensorsFile(path: folder.file("a.safetensors"))
        #expect(file.metadata == metadata)
        #expect(file.names == ["doubles", "vector", "", "empty", "größe \"q\" \\ 大"])
        #expect(file.tensors.first?.byteRange.lowerBound.isMultiple(of: 64) == true)
        #expect(try file.matrix("größe \"q\" \\ 大") == floats)
        #expect(try file.matrix("doubles") == doubles)
        #expect(try file.matrix("empty") == Matrix<Float>(rows: 0, columns: 4))
        #expect(try file.vector("vector").array == [1, 2, 3] as [Double])
        #expect(try file.vector("").array == [4] as [Float])
        #expect(try folder.entries() == ["a.safetensors"])

        var again = SafeTensorsWriter(metadata: metadata)
        try again.add("", [4] as Vector<Float>)
        try again.add("vector", [1, 2, 3] as Vector<Double>)
        try again.add("empty", Matrix<Float>(rows: 0, columns: 4))
        try again.add("doubles", doubles)
        try again.add("größe \"q\" \\ 大", floats)
        let source = try ByteSource(path: folder.file("a.safetensors"))
        #expect(try source.bytes(0..<source.count) == again.bytes())
    }

    @Test func writerRefusesNamesThatClash() throws {
        var writer = SafeTensorsWriter()
        try writer.add("a", [1] as Vector<Float>)
        #expect(errorOf { try writer.add("a", [2] as Vector<Double>) }?.code == .invalidArgument)
        #expect(errorOf { try writer.add("__metadata__", [2] as Vector<Double>) }?.code == .invalidArgument)
        #expect(try SafeTensorsFile(bytes: writer.bytes()).names == ["a"])
        #expect(try SafeTensorsFile(bytes: SafeTensorsWriter().bytes()).tensors.isEmpty)
    }

    @Test func halvesAreTheNearest() throws {
        // Every half is its own nearest, and so is every float up to half a step away; at the middle the even one is.
        for word in UInt16.min...UInt16.max {
            let value = FloatFormat.float(float16: word)
            guard !value.isNaN else {
                #expect(FloatFormat.float(float16: FloatFormat.word(float16: value)).isNaN)
                continue
            }
            var isRight = FloatFormat.word(float16: value) == word
            if word & 0x7FFF < 0x7BFF {
                let next = FloatFormat.float(float16: word + 1)
                let middle = value + (next - value) / 2  // exact
                let towards = value.sign == .plus ? middle.nextUp : middle.nextDown
                let back = value.sign == .plus ? middle.nextDown : middle.nextUp
                isRight = isRight && FloatFormat.word(float16: back) == word
                isRight = isRight && FloatFormat.word(float16: towards) == word + 1
                isRight = isRight && FloatFormat.word(float16: middle) == word + (word & 1)
            }
            #expect(isRight, "\(word)")
        }
        #expect(
            FloatFormat.word(float16: Float(65_520).nextDown) == 0x7BFF && FloatFormat.word(float16: 65_520) == 0x7C00)
        #expect(FloatFormat.word(float16: -.greatestFiniteMagnitude) == 0xFC00)
    }

    @Test func halvesAndIntegersAreWrittenAndRead() throws {
        var writer = SafeTensorsWriter()
        try writer.addIntegers("i", shape: [2, 2], [-128, -1, 0, 127])
        try writer.addHalves("h", shape: [3], [1, -0.1, 1e-8])
        try writer.add("f", [1] as Vector<Float>)
        let file = try SafeTensorsFile(bytes: writer.bytes())
        #expect(file.names == ["f", "h", "i"])
        #expect(file.tensors.map(\.type) == [.float32, .float16, .int8])
        #expect(try file.integers("i") == [-128, -1, 0, 127])
        #expect(try file.vector("h", of: Float.self).array == [1, -0.099975586, 0])
        #expect(errorOf { _ = try file.integers("f") }?.code == .unsupportedType)
        #expect(errorOf { _ = try file.integers("none") }?.code == .missingTensor)
        #expect(errorOf { _ = try file.vector("i", of: Float.self) }?.code == .unsupportedType)
        let folder = try TemporaryFolder()
        try writer.write(to: folder.file("a.safetensors"))
        #expect(try SafeTensorsFile(path: folder.file("a.safetensors")).tensors == file.tensors)
    }
}
