internal import TensorCore

/// Work in short pieces behind everything else, in one task at a time: the graphs of an index, whose pieces its owner's lock
/// guards.
///
/// After each piece it pauses for as long as the piece took, so that whoever waits for the lock gets it (a lock that is given up
/// and taken again at once may never let others in) and half of a core at most is used.
package final class BackgroundWork: Sendable {
    private let isRunning = Lock(false)

    package init() {}

    /// Calls `piece` until it says that nothing is left, unless that goes on already. Returns at once.
    ///
    /// What becomes due while the last piece ends may be missed: call this again with the next event, as with the
    /// next episode stored.
    ///
    /// - Parameter piece: Does a piece of less than a millisecond or so, and says whether more is left. It should hold its
    ///   owner weakly.
    package func start(_ piece: @escaping @Sendable () -> Bool) {
        let isFirst = isRunning.withLock { running in
            defer { running = true }
            return !running
        }
        guard isFirst else { return }
        Task.detached(priority: .background) { [self] in
            while true {
                let start = ContinuousClock.now
                guard piece() else { break }
                try? await Task.sleep(for: ContinuousClock.now - start)
            }
            isRunning.withLock { $0 = false }
        }
    }
}
