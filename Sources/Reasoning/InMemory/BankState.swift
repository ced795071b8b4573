/// All that an ``InMemoryReasoningBank`` holds, behind its lock.
struct BankState: Sendable {
    private struct Place {
        var id: EpisodeID
        var kind: AdapterKind
    }

    let capacity: Int
    private(set) var kinds: [AdapterKind: KindState] = [:]
    /// Each user's episodes by version.
    private var places: [UserDigest: [UInt64: Place]] = [:]
    private(set) var count = 0
    private(set) var evicted = 0
    private var nextEpisode: UInt64 = 1
    var knowledge = SkillShelf()

    init(capacity: Int) { self.capacity = capacity }

    /// The number of users with episodes.
    var users: Int { places.count }

    /// Appends an episode, unless it is there; the oldest goes when there are too many.
    mutating func store(_ episode: Episode) -> EpisodeID {
        if let known = places[episode.user]?[episode.version] { return known.id }
        let id = EpisodeID(nextEpisode)
        nextEpisode += 1
        let kind = AdapterKind(episode.context)
        places[episode.user, default: [:]][episode.version] = Place(id: id, kind: kind)
        kinds[kind, default: KindState()].table.append(id, episode)
        kinds[kind]?.count(episode)
        count += 1
        if count > capacity, let oldest = kinds.min(by: { Self.isOlder($0.value, $1.value) }) {
            if let id = oldest.value.table.oldest { remove(id, of: oldest.key) }
            evicted += 1
        }
        return id
    }

    private static func isOlder(_ left: KindState, _ right: KindState) -> Bool {
        guard let first = left.table.oldest else { return false }
        return right.table.oldest.map { first < $0 } ?? true
    }

    private mutating func remove(_ id: EpisodeID, of kind: AdapterKind) {
        guard let episode = kinds[kind]?.table.remove(id) else { return }
        kinds[kind]?.discount(episode)
        if kinds[kind]?.table.count == 0 { kinds[kind] = nil }
        places[episode.user]?[episode.version] = nil
        if places[episode.user]?.isEmpty == true { places[episode.user] = nil }
        count -= 1
    }

    /// Removes all episodes of a user and returns their number.
    mutating func removeEpisodes(of user: UserDigest) -> Int {
        let held = places[user] ?? [:]
        for place in held.values { remove(place.id, of: place.kind) }
        return held.count
    }

    /// A user's episodes, ascending by identifier.
    func episodes(of user: UserDigest) -> [StoredEpisode] {
        (places[user] ?? [:]).values.sorted { $0.id < $1.id }.compactMap { place in
            kinds[place.kind]?.table[place.id].map { StoredEpisode(id: place.id, episode: $0) }
        }
    }
}
