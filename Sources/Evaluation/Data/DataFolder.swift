internal import Personalization
public import TensorCore

/// A folder of interactions, items and embeddings, read and checked.
///
/// | File | Content |
/// |---|---|
/// | `interactions.csv` | columns `user_id`, `item_id`, `timestamp` and, when present, `rating`; other columns are ignored |
/// | `items.csv` | columns `item_id` and, when present, `text`; its rows are in the order of the embeddings |
/// | `embeddings-NAME.npy` | NumPy file of 16- or 32-bit floats, shape `[items, dimension]`; a row of zeros = no embedding |
/// | `queries.csv` | where there is no `interactions.csv`: columns `user_id`, `query_row`, `item_id`, `timestamp`; other columns are ignored |
/// | `queries-NAME.npy` | with `queries.csv`: NumPy file of the same dimension, one row per query; `query_row` counts its rows from 0 |
/// | `donors.txt` | optional, one user id per line: the users on whom settings are tuned |
///
/// Without `donors.txt` a user is a donor when the top bit of a seeded stable hash of the id is zero
/// (``isDonor(_:seed:)``).
///
/// Files are UTF-8 with or without a byte-order mark, CSV as in RFC 4180 with LF or CRLF. Blank lines are skipped. Ids
/// are any text but the empty one and compared by their bytes, as everywhere else: "é" in one scalar and in two are two ids.
/// The whole file is checked before an error is thrown, so that the error can say how many more rows are bad.
public struct DataFolder: Sendable {
    /// The last component of the folder's path.
    public let name: String
    /// The NAME of `embeddings-NAME.npy`.
    public let embeddingsName: String
    /// The item ids in the order of `items.csv`.
    public let itemIDs: [String]
    /// The items' texts in the same order; empty strings when the file has no such column.
    public let itemTexts: [String]
    /// The embeddings as they are in the file, shape `[items, dimension]`.
    public let embeddings: Matrix<Float>
    /// The queries as they are in the file, shape `[queries, dimension]`; nil in a folder of `interactions.csv`.
    public let queries: Matrix<Float>?
    /// The user ids in order of their first row.
    public let userIDs: [String]
    /// The interactions in order of time; rows of equal time keep the order of the file.
    public let interactions: [Interaction]
    /// For each user of ``userIDs``: whether settings are tuned on the user (then the user is never evaluated).
    public let isDonor: [Bool]

    /// Reads and checks a folder.
    ///
    /// - Parameters:
    ///   - path: The folder.
    ///   - embeddings: The NAME of `embeddings-NAME.npy`; nil takes the first by name.
    ///   - limits: How large the files may be.
    ///   - seed: The seed of the split into donors and others; used only without a `donors.txt`.
    /// - Throws: ``DataError`` naming the file, the first bad row and its column, and the number of further bad rows.
    /// - Complexity: O(bytes + interactions · log(interactions)); the files are held in memory while they are read.
    public init(
        path: String, embeddings: String? = nil, limits: DataLimits = DataLimits(), seed: UInt64 = 0
    ) throws(DataError) {
        let folder = Self.withoutTrailingSlashes(path)
        embeddingsName = try Self.chosenEmbeddings(embeddings, in: folder)
        name = FileAccess.lastComponent(of: folder)
        let items = try ItemsFile(
            bytes: FileAccess.requiredBytes(of: ItemsFile.name, in: folder, limits: limits), limits: limits)
        itemIDs = items.ids
        itemTexts = items.texts
        self.embeddings = try EmbeddingsFile.read(
            "embeddings-\(embeddingsName).npy", in: folder, items: items.ids.count, limits: limits)
        let rows: InteractionsFile
        if let bytes = try FileAccess.bytes(of: InteractionsFile.name, in: folder, limits: limits) {
            queries = nil
            rows = try InteractionsFile(bytes: bytes, items: items.rows, limits: limits)
        } else if let bytes = try FileAccess.bytes(of: InteractionsFile.queriesName, in: folder, limits: limits) {
            let vectors = try EmbeddingsFile.queries(
                "queries-\(embeddingsName).npy", in: folder, dimension: self.embeddings.columns, limits: limits)
            queries = vectors
            rows = try InteractionsFile(bytes: bytes, items: items.rows, limits: limits, queries: vectors.rows)
        } else {
            throw DataError(
                .missingFile, file: InteractionsFile.name,
                "the folder has no such file, and no \(InteractionsFile.queriesName) in its place")
        }
        userIDs = rows.userIDs
        interactions = rows.interactions
        if let bytes = try FileAccess.bytes(of: DonorsFile.name, in: folder, limits: limits) {
            let donors = try DonorsFile.ids(bytes)
            isDonor = userIDs.map { donors.contains(UserKey($0)) }
        } else {
            isDonor = userIDs.map { Self.isDonor($0, seed: seed) }
        }
    }

    /// Whether a user is a donor where no `donors.txt` says so: the top bit of
    /// ``StableHash`` over the seed's eight bytes and the id is zero. Half of all users, the same on every machine.
    public static func isDonor(_ userID: String, seed: UInt64) -> Bool {
        var hash = StableHash()
        hash.combine(seed)
        hash.combine(userID)
        return hash.finalized() >> 63 == 0
    }

    private static func chosenEmbeddings(_ name: String?, in folder: String) throws(DataError) -> String {
        let names = try FileAccess.names(in: folder)
            .filter { $0.hasPrefix("embeddings-") && $0.hasSuffix(".npy") && $0.count > 15 }
            .map { String($0.dropFirst(11).dropLast(4)) }
        guard let name else {
            guard let first = names.first else {
                throw DataError(.missingFile, "the folder has no file embeddings-NAME.npy")
            }
            return first
        }
        guard names.contains(name) else {
            let known = names.isEmpty ? "none" : names.joined(separator: ", ")
            throw DataError(
                .missingFile, file: "embeddings-\(name).npy", "the folder has no such file; the names it has: \(known)")
        }
        return name
    }

    private static func withoutTrailingSlashes(_ path: String) -> String {
        var path = Substring(path)
        while path.count > 1, path.last == "/" { path.removeLast() }
        return String(path)
    }
}

/// `donors.txt`: one user id per line.
enum DonorsFile {
    static let name = "donors.txt"

    static func ids(_ bytes: [UInt8]) throws(DataError) -> Set<UserKey> {
        var ids: Set<UserKey> = []
        var bad = BadRows()
        var line = 0
        let start = bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? 3 : 0
        for row in bytes[start...].split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
            line += 1
            let content = row.last == UInt8(ascii: "\r") ? row.dropLast() : row
            if content.isEmpty { continue }
            guard let id = String(validating: content, as: UTF8.self) else {
                bad.add(DataError(.invalidEncoding, file: name, line: line, column: 1, "not UTF-8"))
                continue
            }
            ids.insert(UserKey(id))
        }
        try bad.check()
        return ids
    }
}
