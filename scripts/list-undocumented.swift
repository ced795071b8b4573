// Lists the public symbols that have no doc comment, from the symbol graphs in a folder: swift list-undocumented.swift FOLDER
// Ends with 1 if there are any, and with 2 if the graphs can't be read or hold nothing (a check of nothing isn't one).
import Foundation

struct SymbolGraph: Decodable {
    struct Symbol: Decodable {
        struct Comment: Decodable {
            struct Line: Decodable { let text: String }
            let lines: [Line]
        }
        struct Place: Decodable {
            struct Position: Decodable { let line: Int }
            let uri: String
            let position: Position
        }
        struct Kind: Decodable { let displayName: String }
        let kind: Kind
        let pathComponents: [String]
        let docComment: Comment?
        let location: Place?
    }
    let symbols: [Symbol]
}

func fail(_ message: String) -> Never {
    FileHandle.standardError.write(Data("list-undocumented: \(message)\n".utf8))
    exit(2)
}

guard CommandLine.arguments.count == 2 else { fail("give the folder of the symbol graphs") }
let folder = URL(filePath: CommandLine.arguments[1])
var findings: Set<String> = []
var count = 0
let root = FileManager.default.currentDirectoryPath + "/"
do {
    for file in try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
    where file.lastPathComponent.hasSuffix(".symbols.json") {
        for symbol in try JSONDecoder().decode(SymbolGraph.self, from: Data(contentsOf: file)).symbols {
            // Without a place in our sources it is someone else's symbol, which our extensions hang on.
            guard let location = symbol.location else { continue }
            count += 1
            let text = symbol.docComment?.lines.map(\.text).joined() ?? ""
            guard text.allSatisfy(\.isWhitespace) else { continue }
            let path = location.uri.replacing("file://", with: "").replacing(root, with: "")
            let name = symbol.pathComponents.joined(separator: ".")
            findings.insert("\(path):\(location.position.line + 1): no doc comment: \(symbol.kind.displayName) \(name)")
        }
    }
} catch {
    fail("\(error)")
}
guard count > 0 else { fail("no symbols in \(folder.path)") }
for finding in findings.sorted() { print(finding) }
print("docs: \(count) public symbols, \(findings.count) without a doc comment.")
exit(findings.isEmpty ? 0 : 1)
