public import LoRA

/// A memory of which adaptations worked, shared by many users' adapters: an optional collaborator of the engine.
///
/// The engine asks before an update (``learnStrategy(_:)``, ``retrievePatterns(_:)``), stores what came of it
/// (``storePattern(_:)``), and lets a batch job turn what worked into skills (``autoConsolidate(_:donors:)``), from which the
/// next user starts ahead. It never trusts a bank: answers are checked, late ones are not waited for, and errors only mean that
/// an update goes on without hints.
///
/// What every conformer promises; `StorageTesting` has the suite that checks it:
/// - ``storePattern(_:)`` appends. Identifiers rise. The same (user, version, time) again changes nothing and returns the
///   first identifier. The time counts because a user whose adapter was removed begins again with version 1.
/// - ``retrievePatterns(_:)`` returns at most `limit` resolved episodes that match the query, the most alike first, ties by
///   identifier; never one of the excluded user.
/// - ``learnStrategy(_:)`` returns advice drawn from resolved episodes and skills, none of them of the excluded user. Without
///   evidence its confidence is 0 and it holds no hints.
/// - ``autoConsolidate(_:donors:)`` gives the same skills for the same episodes, donors and policy.
/// - ``forget(_:donors:)`` leaves nothing of the user: no episode, no share in an advice, no part in a skill.
/// - All may be called from many tasks at once.
public protocol ReasoningBank: Sendable {
    /// Appends an episode.
    ///
    /// - Returns: Its identifier, higher than those of all episodes before.
    func storePattern(_ episode: Episode) async throws -> EpisodeID

    /// The secret under which the bank needs to know users, where it does: an engine with another one is refused. `nil`, the default,
    /// for any.
    var digestKey: DigestKey? { get }

    /// How many episodes the engine may hand over in one ``storePatterns(_:)``: 1, the default, for a bank that gains nothing by
    /// having them together.
    var storesTogether: Int { get }

    /// Appends episodes in their order; what became of each. By default one after another.
    func storePatterns(_ episodes: [Episode]) async -> [Result<EpisodeID, any Error>]

    /// The resolved episodes most like a context.
    ///
    /// - Throws: ``ReasoningError`` (`invalidQuery`) for a query that contradicts itself.
    func retrievePatterns(_ query: PatternQuery) async throws -> [RetrievedPattern]

    /// What has worked in contexts like this one.
    func learnStrategy(_ task: AdaptationTask) async throws -> StrategyAdvice

    /// Turns what worked into skills and retires those that no longer do.
    ///
    /// - Parameters:
    ///   - policy: What a group of episodes must show.
    ///   - donors: Gives the adapters of the users that the episodes are of.
    func autoConsolidate(_ policy: ConsolidationPolicy, donors: any DonorSource) async throws -> ConsolidationReport

    /// Removes a user: episodes, and every skill they gave to is made again without them.
    func forget(_ user: UserDigest, donors: any DonorSource) async throws -> ForgettingReport
}

extension ReasoningBank {
    /// `nil`.
    public var digestKey: DigestKey? { nil }

    /// 1.
    public var storesTogether: Int { 1 }

    /// One after another.
    public func storePatterns(_ episodes: [Episode]) async -> [Result<EpisodeID, any Error>] {
        var results: [Result<EpisodeID, any Error>] = []
        for episode in episodes {
            do { results.append(.success(try await storePattern(episode))) } catch { results.append(.failure(error)) }
        }
        return results
    }
}

/// Gives a bank the adapters of users whom it knows by digest only.
public protocol DonorSource: Sendable {
    /// The user's present adapter; `nil` when there is none any more.
    func adapter(of user: UserDigest) async throws -> LoRAAdapter?
}

/// A source without donors: skills get no prior from it.
public struct NoDonors: DonorSource {
    /// A source without donors.
    public init() {}

    /// Always `nil`.
    public func adapter(of user: UserDigest) async throws -> LoRAAdapter? { nil }
}
