// Matrices of 8 x 8 for tile_cooperative.wgsl.
alias Left = coop_mat8x8<f16, A>;
alias Right = coop_mat8x8<f16, B>;
alias Sums = coop_mat8x8<f32, C>;
const side = 8u;
