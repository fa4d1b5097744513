"""Control of ω, the weight of the robustness loss: target, controller, and the rules that move ω."""
