import Testing

@testable import TensorCore

struct NumPyFileTests {
    static func file(_ dictionary: String, data: [UInt8] = [], version: [UInt8] = [1, 0]) -> [UInt8] {
        let text = Array(dictionary.utf8)
        let length =
            version == [1, 0]
            ? [UInt8(text.count & 255), UInt8(text.count >> 8)]
            : [UInt8(text.count & 255), UInt8(text.count >> 8), 0, 0]
        return [0x93] + Array("NUMPY".utf8) + version + length + text + data
    }

    @Test(arguments: TensorFixtures.named("npy", read: true))
    func readsWhatNumPyWrote(fixture: TensorFixtures.File) throws {
        let tensor = try #require(fixture.tensors.first)
        for file in [
            try NumPyFile(path: TensorFixtures.path(fixture.name)),
            try NumPyFile(bytes: TensorFixtures.bytes(fixture.name)),
        ] {
            #expect(file.shape == tensor.shape)
            #expect(file.elementType.rawValue == tensor.type)
            #expect(file.count == tensor.bits.count)
            let expected = tensor.bits.map { TensorFixtures.value($0, type: tensor.type) }
            #expect(try sameNumbers(file.elements(of: Double.self, requireFinite: false).array, expected))
            #expect(
                try sameNumbers(file.elements(of: Float.self, requireFinite: false).array, expected.map { Float($0) }))
            if tensor.shape.count == 2 {
                let matrix = try file.matrix(of: Float.self)
                #expect([matrix.rows, matrix.columns] == tensor.shape)
                #expect(sameNumbers(matrix.array, expected.map { Float($0) }))
            } else {
                #expect(errorOf { _ = try file.matrix(of: Float.self, requireFinite: false) }?.code == .wrongShape)
            }
            if tensor.shape.count != 1 {
                #expect(errorOf { _ = try file.vector(of: Float.self, requireFinite: false) }?.code == .wrongShape)
            } else {
                #expect(try sameNumbers(file.vector(of: Double.self, requireFinite: false).array, expected))
            }
            if let first = expected.firstIndex(where: { !$0.isFinite }) {
                let error = errorOf { _ = try file.elements(of: Double.self) }
                #expect(error?.code == .notFinite)
                #expect(error?.message.hasPrefix("element \(first) ") == true)
            }
        }
    }

    @Test(arguments: TensorFixtures.named("npy", read: false))
    func refusesWhatIsNotReadHere(fixture: TensorFixtures.File) throws {
        let codes: [String: TensorFileError.Code] = [
            "refuse_fortran_order.npy": .unsupported, "refuse_big_endian.npy": .unsupported,
            "refuse_int32.npy": .unsupported, "refuse_structured.npy": .unsupported, "refuse_object.npy": .unsupported,
            "refuse_empty_file.npy": .dataTooShort, "refuse_bad_magic.npy": .malformed,
            "refuse_version_9.npy": .unsupported, "refuse_cut_in_magic.npy": .dataTooShort,
            "refuse_cut_in_header.npy": .dataTooShort, "refuse_cut_in_data.npy": .dataTooShort,
            "refuse_header_too_long.npy": .dataTooShort, "refuse_negative_shape.npy": .malformed,
            "refuse_huge_shape.npy": .shapeOverflow, "refuse_shape_not_numbers.npy": .malformed,
            "refuse_missing_key.npy": .malformed, "refuse_extra_key.npy": .malformed,
            "refuse_not_a_dictionary.npy": .malformed, "refuse_trailing_bytes.npy": .dataTooLong,
        ]
        let path = TensorFixtures.path(fixture.name)
        let error = try #require(errorOf { _ = try NumPyFile(path: path) }, "accepted: \(fixture.reason)")
        #expect(error.code == codes[fixture.name], "\(error)")
        #expect(error.path == path)
        #expect(error.byteOffset != nil)
    }

    @Test(
        arguments: [
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", nil),
            ("{\"shape\":(1,),\"fortran_order\":False,\"descr\":\"<f4\"}  \n", nil),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1,), }\n", nil),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (), }\n", nil),
            ("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", .duplicateKey),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (1), }", .malformed),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (01,), }", .malformed),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (1,,), }", .malformed),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (1, }", .malformed),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", .shapeOverflow),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904,), }", .shapeOverflow),
            ("{'descr': '<f4', 'fortran_order': 0, 'shape': (1,), }", .malformed),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), } x", .malformed),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)", .malformed),
            ("{'descr': '<\\x664', 'fortran_order': False, 'shape': (1,), }", .malformed),
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (" + String(repeating: "1,", count: 65) + ")}",
                .limitExceeded
            ),
            ("{", .malformed), ("", .malformed),
        ] as [(String, TensorFileError.Code?)])
    func readsTheHeaderStrictly(header: String, expected: TensorFileError.Code?) {
        for version in [[1, 0], [2, 0]] as [[UInt8]] {
            let bytes = Self.file(header, data: [0, 0, 0x80, 0x3F], version: version)
            var elements: [Float] = []
            let error = errorOf { elements = try NumPyFile(bytes: bytes).elements().array }
            #expect(error?.code == expected)
            #expect(elements == (expected == nil ? [1] : []))
        }
    }

    @Test func zeroDimensionsMakeHugeOnesHarmless() throws {
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 0), }"
        let matrix = try NumPyFile(bytes: Self.file(header)).matrix(of: Float.self)
        #expect(matrix.columns == 0 && matrix.rows == 1 << 62)
    }

    @Test func refusesVersionThreeAndHugeHeaders() {
        #expect(errorOf { _ = try NumPyFile(bytes: Self.file("{}", version: [3, 0])) }?.code == .unsupported)
        let huge = [0x93] + Array("NUMPY".utf8) + [2, 0, 0xFF, 0xFF, 0xFF, 0xFF] + [UInt8](repeating: 0x20, count: 100)
        #expect(errorOf { _ = try NumPyFile(bytes: huge) }?.code == .limitExceeded)
    }

    @Test(arguments: [(0, 0), (0, 3), (1, 1), (3, 127), (200, 100)])
    func writesWhatItReads(rows: Int, columns: Int) throws {
        let folder = try TemporaryFolder()
        var generator = PhiloxGenerator(seed: 1)
        var floats = Matrix<Float>(rows: rows, columns: columns)
        floats.withMutableSpan { generator.fillNormal(&$0) }
        var doubles = Vector<Double>(count: rows * columns)
        doubles.withMutableSpan { generator.fillNormal(&$0) }

        try NumPyFile.write(floats, to: folder.file("f.npy"))
        try NumPyFile.write(doubles, to: folder.file("d.npy"))
        let floatFile = try NumPyFile(path: folder.file("f.npy"))
        #expect(floatFile.elementType == .float32)
        #expect(try floatFile.matrix(of: Float.self) == floats)
        let doubleFile = try NumPyFile(path: folder.file("d.npy"))
        #expect(doubleFile.elementType == .float64)
        #expect(try doubleFile.vector(of: Double.self) == doubles)
        #expect(try NumPyFile(bytes: NumPyFile.bytes(of: floats)).matrix(of: Float.self) == floats)
        #expect(try NumPyFile(bytes: NumPyFile.bytes(of: doubles)).vector(of: Double.self) == doubles)
        #expect(try folder.entries() == ["d.npy", "f.npy"])
    }

    @Test func writesTheBytesThatNumPyWrites() throws {
        let elements = (0..<12).map { Float($0 * 37 % 101 - 50) / 8 }
        let matrix = try Matrix(rows: 3, columns: 4, elements: elements)
        #expect(try NumPyFile.bytes(of: matrix) == TensorFixtures.bytes("f4_v1_3x4.npy"))
        let vector = Vector(elements.prefix(5).map { Double($0) })
        #expect(try NumPyFile.bytes(of: vector) == TensorFixtures.bytes("f8_v1_5.npy"))
    }

    @Test func refusesNumbersThatOverflowByRounding() throws {
        let file = try NumPyFile(bytes: NumPyFile.bytes(of: [1, 1e300, 2] as Vector<Double>))
        let error = errorOf { _ = try file.vector(of: Float.self) }
        #expect(error?.code == .notFinite)
        #expect(error?.byteOffset == 128 + 8)
        #expect(try file.vector(of: Float.self, requireFinite: false).array == [1, .infinity, 2])
        #expect(try file.vector(of: Double.self).array == [1, 1e300, 2])
    }

    @Test func everyHalfPrecisionNumberIsExact() {
        for word in 0...UInt16.max {
            let value = FloatFormat.float(float16: word)
            let expected = TensorFixtures.value(UInt64(word), type: "F16")
            #expect(value.isNaN ? expected.isNaN : Double(value) == expected && value.sign == expected.sign)
        }
    }
}
