/// An order over numbered slots: a doubly linked list whose links lie in two arrays.
///
/// Slot 0 is the sentinel that stands before the first and after the last, so that no operation has a special case. A slot
/// is in the list at most once; that is the caller's to keep. Every operation touches three slots or fewer and allocates
/// nothing, but for ``grow()``.
struct SlotOrder: Sendable {
    /// Of each slot, the one after it; `[slots + 1]`.
    private var after: [Int] = [0]
    /// Of each slot, the one before it; `[slots + 1]`.
    private var before: [Int] = [0]
    /// How many links were written since the beginning: what shows that an operation's work does not depend on the length.
    private(set) var linkWrites = 0

    /// The slot at the front; 0 when there is none.
    var first: Int { after[0] }

    /// The slot behind `slot`; 0 when it is the last.
    func successor(of slot: Int) -> Int { after[slot] }

    /// Makes room for one more slot, which is in no place yet.
    mutating func grow() {
        after.append(0)
        before.append(0)
    }

    /// Puts a slot that is not in the list at the end.
    mutating func append(_ slot: Int) {
        let last = before[0]
        after[last] = slot
        before[slot] = last
        after[slot] = 0
        before[0] = slot
        linkWrites += 4
    }

    /// Takes a slot that is in the list out of it.
    mutating func remove(_ slot: Int) {
        after[before[slot]] = after[slot]
        before[after[slot]] = before[slot]
        linkWrites += 2
    }

    /// Forgets every slot.
    mutating func removeAll() {
        after = [0]
        before = [0]
    }
}
