/// The rules of arithmetic by which adapters learn.
public enum Numerics {
    /// Rises with every change of a rule that changes the bits of what is learned. State that was learned under one version goes
    /// on under that version only.
    public static let version: UInt32 = 1
}
