import Foundation
import Testing

@testable import TensorCore

/// A Python with NumPy and safetensors: `ATTUNE_PYTHON` when set, otherwise `python3` from the path.
private enum Python {
    static let interpreter = ProcessInfo.processInfo.environment["ATTUNE_PYTHON"] ?? "python3"

    static let hasPackages: Bool = (try? run(["-c", "import numpy, safetensors"]))?.status == 0

    // Through the C library: Foundation's Process leaks a little, which fails runs under the address sanitizer.
    static func run(_ arguments: [String]) throws -> (status: Int32, output: [UInt8]) {
        let words = ([interpreter] + arguments).map { "'" + $0.replacing("'", with: "'\\''") + "'" }
        guard let stream = unsafe popen(words.joined(separator: " ") + " 2>/dev/null", "r") else { throw WrongKind() }
        var output: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = unsafe fread(&buffer, 1, buffer.count, stream)
            if count == 0 { break }
            output += buffer[..<count]
        }
        return (unsafe pclose(stream), output)
    }
}

struct WrittenFilesTests {
    @Test(
        .enabled(if: Python.hasPackages, "needs a python3 (or ATTUNE_PYTHON) with numpy and safetensors"))
    func referenceImplementationsReadWhatWeWrite() throws {
        let folder = try TemporaryFolder()
        func values(_ count: Int) -> [Double] { (0..<count).map { Double($0 * 37 % 101 - 50) / 8 } }
        let floats = try Matrix(rows: 3, columns: 4, elements: values(12).map { Float($0) })
        let doubles = Vector(values(5))
        try NumPyFile.write(floats, to: folder.file("f4.npy"))
        try NumPyFile.write(doubles, to: folder.file("f8.npy"))
        try NumPyFile.write(Matrix<Double>(rows: 0, columns: 4), to: folder.file("empty.npy"))
        var writer = SafeTensorsWriter(metadata: ["note": "line one\n\"two\" \\ \u{1} é 大 😀", "empty": ""])
        try writer.add("floats", floats)
        try writer.add("größe \"q\" \\ 大", doubles)
        try writer.add("empty", Vector<Float>(count: 0))
        try writer.write(to: folder.file("t.safetensors"))
        try SafeTensorsWriter().write(to: folder.file("none.safetensors"))

        let names = ["f4.npy", "f8.npy", "empty.npy", "t.safetensors", "none.safetensors"]
        let (status, output) = try Python.run(
            ["\(TensorFixtures.folder)/check_written.py"] + names.map { folder.file($0) })
        #expect(status == 0, "\(String(decoding: output, as: UTF8.self))")
        let files = try StrictJSON.parse(output).member("files").elements()
        #expect(try files.map { try $0.member("file").text() } == names)
        let sum = values(12).reduce(0, +)
        let expected: [[(String, String, [Int], Double, [Double])]] = [
            [("", "<f4", [3, 4], sum, values(8))], [("", "<f8", [5], values(5).reduce(0, +), values(5))],
            [("", "<f8", [0, 4], 0, [])],
            [
                ("empty", "F32", [0], 0, []), ("floats", "F32", [3, 4], sum, values(8)),
                ("größe \"q\" \\ 大", "F64", [5], values(5).reduce(0, +), values(5)),
            ], [],
        ]
        for (file, tensors) in zip(files, expected) {
            let found = try file.member("tensors").elements()
            #expect(found.count == tensors.count)
            for (tensor, (name, type, shape, sum, first)) in zip(found, tensors) {
                #expect(try tensor.member("name").text() == name)
                #expect(try tensor.member("dtype").text() == type)
                #expect(try tensor.member("shape").elements().map { try Int($0.integer()) } == shape)
                #expect(try tensor.member("sum").double() == sum)
                #expect(try tensor.member("first").elements().map { try $0.double() } == first)
            }
        }
        let metadata = try files[3].member("metadata").members().map { ($0.key, try $0.value.text()) }
        #expect(Dictionary(uniqueKeysWithValues: metadata) == writer.metadata)
    }
}

extension JSONValue {
    fileprivate func double() throws -> Double {
        switch content {
        case .integer(let value): return Double(value)
        case .number(let value): return value
        default: throw WrongKind()
        }
    }
}
