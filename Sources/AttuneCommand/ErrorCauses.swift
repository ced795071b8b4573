import Attune

/// An error, the one that caused it, and so on to the first cause.
func withCauses(_ error: any Error) -> [any Error] {
    var all = [error]
    while let cause = (all[all.count - 1] as? EngineError)?.cause { all.append(cause) }
    return all
}

/// An error in words, and all that caused it: what failed comes first, then why and where.
///
/// What an error has taken over from its cause is said once.
func explanation(of error: any Error) -> String {
    withCauses(error).dropFirst().reduce("\(error)") { text, cause in
        switch cause {
        case let cause as StorageError where text.contains(cause.message): "\(text), \(cause.path)"
        case let cause as EngineError where text.contains(cause.message): text
        case let cause as LoRAError where text.contains(cause.message): text
        default: "\(text): \(cause)"
        }
    }
}
