import CPageChecksums
import CSQLite
import Foundation
import TensorCore
import Testing

/// The unused part of pages holds nothing, and what is used stays.
@Suite("Room in pages", .timeLimit(.minutes(10)))
struct PageRoomTests {
    /// What a page of a B-tree leaves unused, read as https://sqlite.org/fileformat.html describes it.
    private struct TreePage {
        var children: [Int] = []
        /// Between the cells' list and the cells.
        let room: Range<Int>
        /// Free blocks among the cells, without their own four bytes.
        var blocks: [Range<Int>] = []

        init(_ bytes: Data, header: Int) throws {
            let start = bytes.startIndex
            func number(_ count: Int, _ place: Int) -> Int {
                bytes[start + place..<start + place + count].reduce(0) { $0 << 8 | Int($1) }
            }
            let type = bytes[start + header]
            try #require([2, 5, 10, 13].contains(type))
            let isLeaf = type >= 10
            let (list, cells) = (header + (isLeaf ? 8 : 12), number(2, header + 3))
            let content = number(2, header + 5)
            room = start + list + 2 * cells..<start + (content == 0 ? 65536 : content)
            if !isLeaf {
                children = (0..<cells).map { number(4, number(2, list + 2 * $0)) } + [number(4, header + 8)]
            }
            var block = number(2, header + 1)
            while block != 0 {
                blocks.append(start + block + 4..<start + block + number(2, block + 2))
                block = number(2, block)
            }
        }
    }

    /// All pages of all B-trees of a database's file.
    private func trees(_ bytes: Data, pageSize: Int, roots: [Int]) throws -> [TreePage] {
        var (all, next): ([TreePage], [Int]) = ([], roots + [1])
        while let page = next.popLast() {
            let start = (page - 1) * pageSize
            let tree = try TreePage(bytes[start..<start + pageSize], header: page == 1 ? 100 : 0)
            all.append(tree)
            next += tree.children
        }
        return all
    }

    private static let mark: [UInt8] = [0xD7, 0x4A, 0x9C, 0xE3]

    /// A row's number, again and again, each time twice.
    private static func value(_ row: Int, bytes: Int) -> String {
        let word = [UInt8(row >> 8), UInt8(row & 0xFF)]
        let repeated = (mark + word + word.map { ~$0 } + word + word + word + word).map { String(format: "%02x", $0) }
        return "x'" + String(repeating: repeated.joined(), count: max(1, bytes / 16)) + "'"
    }

    /// The rows of which something stands in a file.
    private static func found(_ bytes: Data) -> Set<Int> {
        var all = Set<Int>()
        for place in places(of: mark, in: bytes) where place + 8 <= bytes.count {
            let next = Array(bytes[place + 4..<place + 8])
            if next[0] == ~next[2], next[1] == ~next[3] { all.insert(Int(next[0]) << 8 | Int(next[1])) }
        }
        return all
    }

    @Test(
        "is zero, whatever was moved there, and nothing of a deleted row is in the file",
        arguments: [512, 4096, 65536],
        ["NONE", "FULL"])
    func holdsNothing(pageSize: Int, autoVacuum: String) throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        var generator = PhiloxGenerator(seed: seed, stream: 1, purpose: .initialization)
        let database = try ChecksumDatabase()
        let connection = try database.open(pageSize: pageSize)
        try connection.run(
            """
            PRAGMA auto_vacuum = \(autoVacuum); PRAGMA journal_mode = WAL; PRAGMA secure_delete = ON;
            CREATE TABLE a(id INTEGER PRIMARY KEY, value BLOB NOT NULL); CREATE INDEX a_by_value ON a(value);
            CREATE TABLE b(key BLOB, id INTEGER, PRIMARY KEY (key, id)) WITHOUT ROWID;
            """)
        var expected: [Int: String] = [:]
        var last = 0
        func bytes() -> Int {
            generator.integer(below: 20) == 0
                ? generator.integer(in: 1..<3 * pageSize) : generator.integer(in: 8..<min(pageSize, 3000))
        }
        for round in 0..<6 {
            try connection.run("BEGIN")
            for _ in 0..<100 {
                last += 1
                let value = Self.value(last, bytes: bytes())
                expected[last] = value
                // Keys in no order, so that all pages are in use.
                try connection.run(
                    """
                    INSERT INTO a VALUES (\(last), \(value));
                    INSERT INTO b VALUES (x'\(String(format: "%02x", generator.integer(below: 256)))' || \(value), \(last))
                    """)
            }
            for row in expected.keys.sorted() where generator.integer(below: 4) == 0 {
                if generator.integer(below: 2) == 0 {
                    try connection.run("DELETE FROM a WHERE id = \(row); DELETE FROM b WHERE id = \(row)")
                    expected[row] = nil
                } else {
                    let value = Self.value(row, bytes: bytes())
                    try connection.run("UPDATE a SET value = \(value) WHERE id = \(row)")
                    expected[row] = value
                }
            }
            try connection.run("COMMIT")
            try connection.checkpoint()
            let file = try contents(ofFile: database.path)
            let pages = try trees(
                file, pageSize: pageSize,
                roots: connection.rows("SELECT rootpage FROM sqlite_schema").compactMap { Int($0[0]) })
            #expect(pages.count > 4 && pages.contains { !$0.room.isEmpty })
            for page in pages {
                #expect(file[page.room] == Data(count: page.room.count), "seed \(seed), round \(round), \(page)")
                for block in page.blocks {
                    #expect(file[block] == Data(count: block.count), "seed \(seed), round \(round), \(page)")
                }
            }
            #expect(Self.found(file) == Set(expected.keys), "seed \(seed), round \(round)")
            for connection in [connection, try database.open()] {
                #expect(try connection.rows("PRAGMA integrity_check") == [["ok"]], "seed \(seed), round \(round)")
                let rows = try connection.rows("SELECT id, 'x''' || lower(hex(value)) || '''' FROM a ORDER BY id")
                #expect(
                    rows == expected.keys.sorted().map { [String($0), expected[$0] ?? ""] },
                    "seed \(seed), round \(round)")
            }
        }
    }

    /// With 33,554,432 pages and more, the first byte of a page that goes on with a long value may be that of a B-tree's.
    @Test("is left as it is where a page may be another kind of page")
    func isLeftInVeryLargeFiles() throws {
        let database = try ChecksumDatabase()
        let limit = 2 << 24
        do {
            let connection = try database.open(pageSize: 512)
            try connection.run("PRAGMA journal_mode = WAL; CREATE TABLE t(value BLOB)")
            try connection.checkpoint()
            // A file with so many pages that nobody uses; they take no room.
            var header = try connection.readFile(512, at: 0)
            let pages = limit - 40
            for i in 0..<4 { header[28 + i] = UInt8(truncatingIfNeeded: pages >> (24 - 8 * i)) }
            try connection.writeFile(header, at: 0)
            let file = try FileHandle(forUpdating: URL(filePath: database.path))
            try file.truncate(atOffset: UInt64(pages * 512))
            try file.close()
        }
        // Whatever page these bytes begin: with 02 00 00 00 before them they look like a page of an index with one cell.
        let value = String(repeating: "01", count: 400_000)
        let connection = try database.open()
        try connection.run("INSERT INTO t VALUES (x'\(value)')")
        #expect(try Int(connection.value("PRAGMA page_count")) ?? 0 > limit + 256)
        try connection.checkpoint()
        let found = try database.open().value("SELECT lower(hex(value)) FROM t")
        #expect(found == value)
        let place = (limit - 2) * 512
        #expect(try connection.readFile(8, at: place) == [2, 0, 0, 0, 1, 1, 1, 1], "the page that this is about")
    }

    /// Where pages are free, a pointer map begins with 02 00 00 00 00 02 00: like a page of an index without cells.
    @Test("is not sought in pointer maps")
    func isNotSoughtInMaps() throws {
        let database = try ChecksumDatabase()
        let connection = try database.open(pageSize: 1024)
        try connection.run(
            """
            PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA secure_delete = ON;
            CREATE TABLE t(value BLOB); INSERT INTO t VALUES (zeroblob(1000000)), (x'17'); DELETE FROM t WHERE rowid = 1
            """)
        try connection.checkpoint()
        let map = (2 + 1016 / 5) * 1024
        #expect(
            try connection.readFile(12, at: map) == [2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 2, 0], "the page that this is about")
        #expect(try database.open().rows("PRAGMA integrity_check") == [["ok"]])
        try connection.run("PRAGMA incremental_vacuum")
        try connection.checkpoint()
        #expect(try database.bytes().count < 10 * 1024)
        #expect(try database.open().rows("PRAGMA integrity_check") == [["ok"]])
        #expect(try connection.value("SELECT hex(value) FROM t") == "17")
    }
}
