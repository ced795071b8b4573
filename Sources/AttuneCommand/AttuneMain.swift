/// The `attune` executable.
///
/// `main()` is isolated to the main actor whatever its declaration says, and so is every closure literal in it that is
/// not `@Sendable`; it therefore holds nothing but the hand-over to ``App``, which is not.
@main
struct AttuneMain {
    static func main() async {
        await App.run()
    }
}
