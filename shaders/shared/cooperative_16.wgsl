// Matrices of 16 x 16 for tile_cooperative.wgsl.
alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sums = coop_mat16x16<f32, C>;
const side = 16u;
