public import TensorCore

/// What a user's evaluation runs over: the likes in order of time.
public struct LikeSequence: Sendable, Hashable {
    /// The user's id.
    public let userID: String
    /// The liked items as rows of ``EvaluationData/vectors``, each once, in order of time; 6 to 61 of them.
    public let items: [Int]
    /// The query with which each of them was found, as rows of ``EvaluationData/queryVectors``; empty without queries.
    public let queries: [Int]

    init(userID: String, items: [Int], queries: [Int] = []) {
        self.userID = userID
        self.items = items
        self.queries = queries
    }
}

/// One like in the order of time over all users.
struct LikeEvent: Sendable, Hashable {
    /// The user's index in ``EvaluationData/userIDs``.
    let user: Int
    /// The liked item's row in ``EvaluationData/vectors``.
    let item: Int
    /// When it was, in the file's unit; 0 where users have no common clock.
    var timestamp = 0.0
}

/// A data set ready for the prequential protocol: unit embeddings, like sequences, and the donors' likes.
///
/// Made from a ``DataFolder`` or a ``SyntheticPopulation``.
///
/// A like is the first interaction of a user with an item that is rated 4 or better (or not rated at all) and has an
/// embedding. A user's sequence is the first 61 likes in order of time; users with fewer than 6 are left out. Only
/// items with an embedding are ranked. In a folder of queries each row is a like, of the item that was chosen for the query; a row
/// whose query has no embedding (zeros) is left out.
public struct EvaluationData: Sendable {
    /// The least number of likes of an evaluated user.
    public static var minimumLikes: Int { 6 }
    /// The longest sequence that is evaluated.
    public static var maximumLikes: Int { 61 }

    /// The name of the data set, for reports.
    public let name: String
    /// The name of the embeddings, for reports; empty when there is only one kind.
    public let embeddingsName: String
    /// The number of items that have an embedding: those that are ranked.
    public let itemCount: Int
    /// The embeddings of the ranked items, each divided by its length; shape `[itemCount, dimension]`.
    public let vectors: Matrix<Float>
    /// The queries, each divided by its length; shape `[queries, dimension]`; nil where items are liked without one.
    ///
    /// With queries the `last` query of an event is the event's own, not the latest like.
    public let queryVectors: Matrix<Float>?
    /// For each ranked item, its row in the data folder's `items.csv`.
    public let catalogueRows: [Int]
    /// The ids of the ranked items; their rows as numbers where they have none.
    let itemNames: [String]
    /// log(1 + likes) of each ranked item among all donors' likes (no limit of 61 here), shape `[itemCount]`.
    public let popularity: [Float]
    /// The users on whom settings are tuned, longest sequence first.
    public let donors: [LikeSequence]
    /// The users on whom methods are evaluated, longest sequence first.
    public let users: [LikeSequence]
    /// The ids of all users, those with too few likes for an evaluation too.
    public let userIDs: [String]
    /// Every like of every user, in order of time.
    let stream: [LikeEvent]
    /// The known truth, for synthetic data.
    let truth: (any PreferenceTruth)?
    /// When every user's taste changes and comes back; `nil` where it is not known to.
    public internal(set) var tasteChange: TasteChange?

    /// The number of components of an embedding.
    public var dimension: Int { vectors.columns }

    /// The like sequences of a folder.
    ///
    /// - Throws: ``DataError`` (`notEnoughData`) when no donor or no other user has 6 likes.
    /// - Complexity: O(interactions + items · dimension).
    public init(_ folder: DataFolder) throws(DataError) {
        let (vectors, rows) = Self.unitRows(folder.embeddings)
        var rankedIndex = [Int](repeating: -1, count: folder.itemIDs.count)
        for (k, row) in rows.enumerated() { rankedIndex[row] = k }
        var likes = [[Int]](repeating: [], count: folder.userIDs.count)
        var seen = [Set<Int>](repeating: [], count: folder.userIDs.count)
        var stream: [LikeEvent] = []
        let units = folder.queries.map { Self.unitRows($0) }
        var queryIndex = [Int](repeating: -1, count: folder.queries?.rows ?? 0)
        for (k, row) in (units?.rows ?? []).enumerated() { queryIndex[row] = k }
        var queries = [[Int]](repeating: [], count: folder.userIDs.count)
        for row in folder.interactions where row.isLike && rankedIndex[row.item] >= 0 {
            let item = rankedIndex[row.item]
            let query = row.queryRow.map { queryIndex[$0] }
            if let query, query < 0 { continue }
            if seen[row.user].insert(item).inserted {
                likes[row.user].append(item)
                if let query { queries[row.user].append(query) }
                stream.append(LikeEvent(user: row.user, item: item, timestamp: row.timestamp))
            }
        }
        try self.init(
            name: folder.name, embeddingsName: folder.embeddingsName, vectors: vectors, catalogueRows: rows,
            itemNames: rows.map { folder.itemIDs[$0] },
            likes: zip(folder.userIDs, likes).map { ($0, $1) }, stream: stream, isDonor: folder.isDonor, truth: nil,
            queries: units.map { ($0.vectors, queries) })
    }

    /// - Parameters:
    ///   - likes: For each user the id and all likes, each item once, in order of time.
    ///   - stream: The same likes over all users, in order of time; `nil` when users have no common clock: then every
    ///     user's first like comes before any user's second.
    ///   - queries: Unit vectors, and for each user the row that belongs to each like.
    init(
        name: String, embeddingsName: String, vectors: Matrix<Float>, catalogueRows: [Int], itemNames: [String]? = nil,
        likes: [(id: String, items: [Int])], stream: [LikeEvent]? = nil, isDonor: [Bool], truth: (any PreferenceTruth)?,
        queries: (vectors: Matrix<Float>, rows: [[Int]])? = nil
    ) throws(DataError) {
        queryVectors = queries?.vectors
        self.name = name
        self.embeddingsName = embeddingsName
        self.vectors = vectors
        self.catalogueRows = catalogueRows
        self.itemNames = itemNames ?? catalogueRows.map(String.init)
        self.truth = truth
        userIDs = likes.map(\.id)
        self.stream = stream ?? Self.interleaved(likes.map(\.items))
        itemCount = vectors.rows
        var counts = [Double](repeating: 0, count: vectors.rows)
        for (user, donor) in zip(likes, isDonor) where donor { for item in user.items { counts[item] += 1 } }
        popularity = counts.map { Float(Elementary.log1p($0)) }
        // The last event must leave at least one candidate besides the target.
        let longest = min(Self.maximumLikes, vectors.rows - 1)
        func sequences(donor: Bool) -> [LikeSequence] {
            likes.indices
                .filter { isDonor[$0] == donor && min(likes[$0].items.count, longest) >= Self.minimumLikes }
                .map { user in
                    LikeSequence(
                        userID: likes[user].id, items: Array(likes[user].items.prefix(longest)),
                        queries: Array((queries?.rows[user] ?? []).prefix(longest)))
                }
                .enumerated()
                .sorted { ($1.element.items.count, $0.offset) < ($0.element.items.count, $1.offset) }
                .map(\.element)
        }
        donors = sequences(donor: true)
        users = sequences(donor: false)
        for (group, word) in [(donors, "donor"), (users, "user who is not a donor")] where group.isEmpty {
            throw DataError(
                .notEnoughData,
                "no \(word) has \(Self.minimumLikes) likes of items with an embedding; "
                    + "settings are tuned on donors and methods are evaluated on the other users")
        }
    }

    private static func interleaved(_ likes: [[Int]]) -> [LikeEvent] {
        let longest = likes.map(\.count).max() ?? 0
        return (0..<longest).flatMap { step in
            likes.indices.compactMap { user in
                step < likes[user].count ? LikeEvent(user: user, item: likes[user][step]) : nil
            }
        }
    }

    /// The rows that are not zero, each divided by its Euclidean length (computed in Float64), and their positions.
    static func unitRows(_ embeddings: borrowing Matrix<Float>) -> (vectors: Matrix<Float>, rows: [Int]) {
        var norms = [Double](repeating: 0, count: embeddings.rows)
        for i in 0..<embeddings.rows {
            norms[i] = embeddings.withRow(i) { row in
                var sum = 0.0
                for j in row.indices { sum += Double(row[j]) * Double(row[j]) }
                return sum.squareRoot()
            }
        }
        let rows = norms.indices.filter { norms[$0] > 0 }
        var vectors = Matrix<Float>(rows: rows.count, columns: embeddings.columns)
        for (k, i) in rows.enumerated() {
            embeddings.withRow(i) { source in
                vectors.withMutableRow(k) { target in
                    for j in source.indices { target[j] = Float(Double(source[j]) / norms[i]) }
                }
            }
        }
        return (vectors, rows)
    }
}
