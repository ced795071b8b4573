internal import CAllocations

/// Counts the allocations that the process makes while `work` runs, those of other threads too; `nil` where they can't be
/// counted: under a sanitizer, and where the C library isn't glibc. One count at a time.
public func countAllocations(_ work: () throws -> Void) rethrows -> Int? {
    guard attune_allocations_begin() != 0 else {
        try work()
        return nil
    }
    do { try work() } catch {
        _ = attune_allocations_end()
        throw error
    }
    return Int(attune_allocations_end())
}
